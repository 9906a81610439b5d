"""The headers under which a stored file is served: right for every client, harmless in a browser.

Files come from callers and from workflows, and they are served from the API's own origin. So no file may run there:
browsers must believe the type (`nosniff`), documents open in a sandbox without scripts, and what a browser would render
as a document is offered as a download.
"""

import re
from urllib.parse import quote

from runflow.storage.signed_urls import DownloadGrant

_POLICY = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"
_SHOWN = ("image/", "video/", "audio/", "text/plain", "application/json", "application/pdf")
_NEVER_SHOWN = ("image/svg+xml",)
_UNKNOWN = "application/octet-stream"
_HEADER_SAFE = re.compile(r"[\x21-\x7e][\x20-\x7e]*")


def download_headers(grant: DownloadGrant, etag: str) -> dict[str, str]:
    """Return the headers of an answer to this grant, all but length and range."""
    content_type = served_type(grant.content_type)
    return {
        "Content-Type": content_type,
        "Content-Disposition": disposition(content_type, grant.filename),
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": f"private, max-age={grant.seconds_left}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": _POLICY,
        "Referrer-Policy": "no-referrer",
    }


def is_unchanged(if_none_match: str | None, etag: str | None) -> bool:
    """Tell whether the client's copy is still the one that we have."""
    if not if_none_match or not etag:
        return False
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or "*" in known


def served_type(content_type: str | None) -> str:
    """Return the type to serve a file under: what was declared, where that can stand in a header and is one type.

    Browsers read `image/png, text/html` as two types, also behind a semicolon, and believe the last one.
    """
    if not content_type or not _HEADER_SAFE.fullmatch(content_type):
        return _UNKNOWN
    if "," not in content_type:
        return content_type
    essence = content_type.partition(";")[0].strip()  # video/webm;codecs=vp9,opus
    return _UNKNOWN if "," in essence or not essence else essence


def disposition(content_type: str, filename: str | None) -> str:
    """Return the `Content-Disposition` of a file: shown in the page only where that is harmless."""
    kind_of = content_type.lower()
    shown = kind_of.startswith(_SHOWN) and not kind_of.startswith(_NEVER_SHOWN)
    kind = "inline" if shown else "attachment"
    if not filename:
        return kind
    # Old clients read the first form, everyone else the second (RFC 6266, RFC 5987).
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in filename)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
