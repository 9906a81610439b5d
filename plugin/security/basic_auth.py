"""The Authorization header of HTTP Basic (RFC 7617): reading it, and the challenge that asks for it."""

from __future__ import annotations

import base64
import unicodedata
from dataclasses import dataclass, field

CHALLENGE = 'Basic realm="ComfyUI", charset="UTF-8"'
"""The same for every path, so that browsers ask once."""

_LONGEST = 2048


@dataclass(frozen=True)
class Credentials:
    """What a request says of who it comes from."""

    username: str
    password: str = field(repr=False)


def read(header: str) -> Credentials | None:
    """The credentials in a header; None for anything that is none, however it is broken."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > _LONGEST:
        return None
    try:
        content = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # what programs send that do not know `charset`
    username, colon, password = text.partition(":")
    return Credentials(normal(username), normal(password)) if colon else None


def normal(text: str) -> str:
    """The one spelling of a text: keyboards and systems write the same letter in several ways (RFC 7617 asks NFC)."""
    return unicodedata.normalize("NFC", text)
