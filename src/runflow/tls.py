"""Certificates that are trusted beside the public authorities (RUNFLOW_CA_FILE), the same for every connection."""

import ssl
from pathlib import Path


class CertificateUnusable(Exception):
    """A certificate file cannot be used; the message says which, and why."""


def trusting(context: ssl.SSLContext, ca_file: Path | None) -> ssl.SSLContext:
    """Make a client's context trust the certificates of a PEM file too, and return it.

    A server's own certificate may be among them: it need not come from an authority. Raises `CertificateUnusable`.
    """
    if ca_file is None:
        return context
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise CertificateUnusable(
            f"RUNFLOW_CA_FILE {ca_file}: {error.strerror or error}. Give a PEM file with certificates that this user "
            "can read."
        ) from error
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


_DATES = {9, 10}
"""What OpenSSL calls a certificate that is not valid yet, and one that is not valid any more."""
_NAMES = {62, 64}
"""That it is of another host name, or of another address."""


def next_step(error: BaseException) -> str:
    """Return what to do about a certificate that was refused, as a sentence to append; empty for any other error."""
    cause: BaseException | None = error
    # aiohttp's error is such an error too, but without the code: the real one is its cause.
    while cause is not None and not (isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_code")):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return ""
    if cause.verify_code in _DATES:
        return " Look at the clock of this machine, and at the certificate's dates on the server."
    if cause.verify_code in _NAMES:
        return " Use a name that stands in the certificate."
    return " For a private authority, name its certificate: RUNFLOW_CA_FILE, in the SDK ca_file."


def authorities(ca_file: Path | None) -> bytes | None:
    """Return the certificates of the file (PEM) for a library that takes no context. Raises `CertificateUnusable`."""
    if ca_file is None:
        return None
    trusting(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ca_file)
    return ca_file.read_bytes()


def check_pair(certificate: Path, key: Path) -> None:
    """Raise `CertificateUnusable` unless a server can serve with this certificate chain and private key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        raise CertificateUnusable(
            f"Cannot serve https with the certificate {certificate} and the key {key}: "
            f"{getattr(error, 'strerror', None) or error}. Give a certificate chain and its private key without a "
            "password, both in PEM form, that this user can read."
        ) from error
