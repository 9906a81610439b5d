"""Why a server could not be reached, in words that help a person instead of a library's name for it."""

from __future__ import annotations

import os
import socket
import ssl


def why_unreachable(error: BaseException) -> str:
    """The cause behind an error of an HTTP request, such as "nothing listens there"; else the error's own words."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(cause, socket.gaierror):
        return "its name leads to no address (DNS)"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({getattr(cause, 'verify_message', cause)})"
    if isinstance(cause, ssl.SSLError):
        wrong = "WRONG_VERSION_NUMBER" in str(cause) or "RECORD_LAYER_FAILURE" in str(cause)
        return "it does not speak TLS; did you mean http:// instead of https://?" if wrong else f"TLS failed ({cause})"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return str(error) or type(error).__name__
