"""The operator's credentials for the hosts of downloads, from a file that only its owner can read.

One per line; a line that begins with # is a comment. A host stands for https://host, and nothing else than an origin in
full, http://host, makes a credential travel without TLS:

    HOST_OR_ORIGIN bearer TOKEN
    HOST_OR_ORIGIN basic USER PASSWORD
    HOST_OR_ORIGIN header NAME VALUE
"""

import base64
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from runflow.outgoing.urls import Origin

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset(
    "accept accept-encoding connection content-length expect host if-range keep-alive proxy-authorization "
    "proxy-connection range te trailer transfer-encoding upgrade user-agent".split()
)
"""Headers that make the request what it is."""
_MOST_BYTES = 1024 * 1024
_FORMS = "HOST bearer TOKEN, HOST basic USER PASSWORD, or HOST header NAME VALUE"


class CredentialsUnusable(Exception):
    """The file of credentials cannot be used. The message says why, and never repeats any of it."""


class Credentials:
    """The headers to send to each origin. Nothing that prints one shows them."""

    __slots__ = ("_headers",)

    def __init__(self, headers: "Mapping[Origin, Mapping[str, str]] | None" = None) -> None:
        """Take the headers by origin; none by default."""
        self._headers = dict(headers or {})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the credentials of a file. Raises `CredentialsUnusable`."""
        headers: dict[Origin, Mapping[str, str]] = {}
        for number, line in enumerate(_private_text(path).split("\n"), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            where = f"Line {number} of the file of download credentials {path}"
            found = _parse(line.strip())
            if found is None:
                raise CredentialsUnusable(f"{where} cannot be read. Write {_FORMS}.")
            if found[0] in headers:
                raise CredentialsUnusable(f"{where} names a host that an earlier line has named. Remove one of them.")
            headers[found[0]] = found[1]
        return cls(headers)

    def headers_for(self, origin: "Origin") -> Mapping[str, str]:
        """Return the headers for this exact origin, none where it has no credentials."""
        return self._headers.get(origin, {})

    def __repr__(self) -> str:
        return f"<Credentials, origins: {len(self._headers)}>"


def _private_text(path: Path) -> str:
    """Return the text of a file that only its owner can read."""
    try:
        # Without waiting: a pipe of that name would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            state = os.fstat(descriptor)
            content = os.read(descriptor, _MOST_BYTES) if stat.S_ISREG(state.st_mode) else None
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CredentialsUnusable(
            f"The file of download credentials {path} cannot be read: {error.strerror}. "
            "Correct RUNFLOW_DOWNLOAD_CREDENTIALS, or make the file."
        ) from error
    if content is None:
        raise CredentialsUnusable(f"The path of the download credentials {path} is no file. Name a text file.")
    if state.st_mode & 0o077:
        raise CredentialsUnusable(f"Others can read the download credentials in {path}. Run: chmod 600 {path}")
    text = _decoded(content)
    if text is None:
        raise CredentialsUnusable(f"The file of download credentials {path} is no text in UTF-8. Save it as that.")
    return text


def _decoded(content: bytes) -> str | None:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:  # not handed on: it holds the content
        return None


def _parse(line: str) -> "tuple[Origin, Mapping[str, str]] | None":
    """Return the origin and the headers of a line, None for a bad one."""
    host, kind, first, second, *_ = [*line.split(maxsplit=3), "", "", "", ""]
    target = _origin(host)
    headers: Mapping[str, str] | None = None
    if kind == "bearer" and first and not second:
        headers = {"Authorization": f"Bearer {first}"}
    elif kind == "basic" and first and second and ":" not in first:
        headers = {"Authorization": f"Basic {base64.b64encode(f'{first}:{second}'.encode()).decode()}"}
    elif kind == "header" and second and _NAME.fullmatch(first) and first.lower() not in _OURS:
        headers = {first: second}
    if target is None or headers is None or not all(_is_printable(value) for value in headers.values()):
        return None
    return target, headers


def _origin(text: str) -> "Origin | None":
    """Return the origin that a host or an origin names, None for anything else."""
    # Here, so that the help of a command does not load an HTTP client.
    from runflow.outgoing import InvalidUrl
    from runflow.outgoing.urls import check_url, origin

    try:
        url = check_url(text if "://" in text else f"https://{text}")
    except InvalidUrl:
        return None
    return origin(url) if url.raw_path == b"/" and not url.fragment else None


def _is_printable(value: str) -> bool:
    return value.isascii() and value.isprintable()
