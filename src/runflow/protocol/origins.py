"""Where source code may come from: which addresses of git repositories are taken, and which of them mean the same."""

import re
from collections.abc import Collection
from urllib.parse import unquote, urljoin, urlsplit

ALWAYS_ALLOWED = "https://"
MOST_CHARACTERS = 500
"""Longest address that is taken."""

_PLAIN = re.compile(r"[!-~]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_USERS = {"ssh": "git"}
"""Schemes whose address names a user that is no secret, and the one that is taken."""
_EVERY_START = ("ssh://", "http://", "file://")
"""What a worker may be told to take beside `ALWAYS_ALLOWED`."""


def is_commit(text: object) -> bool:
    """Return whether a value is a full commit id: 40 hexadecimal digits, lower case."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def undecorated(origin: str) -> str:
    """Return an address as fingerprints compare it: without a trailing slash or `.git`."""
    return origin.strip().rstrip("/").removesuffix(".git")


def canonical(origin: str) -> str | None:
    """Return an address as approvals compare it: undecorated, scheme and host in lower case; None where it is none.

    No password, no user but that of `ssh://git@`, no query or fragment, nothing outside of ASCII and no `..` is in what
    it returns (`origin_fault`), and it returns that again for what it returned.
    """
    scheme, mark, rest = origin.strip().partition("://")
    host, slash, path = rest.partition("/")
    found = f"{scheme.lower()}{mark}{host.lower()}{slash}{path}"
    while (shorter := undecorated(found)) != found:
        found = shorter
    return None if "?" in found or origin_fault(found, _EVERY_START) else found


def origin_fault(origin: str, allowed_prefixes: Collection[str] = ()) -> str | None:
    """Return why an address is not taken, as the end of a sentence about it; None where it is taken.

    `https://` always is; `ssh://git@`, `http://` and `file://`, or longer starts, only if `allowed_prefixes` has them.
    """
    if len(origin) > MOST_CHARACTERS:
        return f"has more than {MOST_CHARACTERS} characters"
    if not _PLAIN.fullmatch(origin) or "\\" in origin:
        return "is no address (it holds blanks, backslashes or characters outside of ASCII)"
    if not origin.startswith((ALWAYS_ALLOWED, *allowed_prefixes)):
        return "does not start with " + " or ".join((ALWAYS_ALLOWED, *allowed_prefixes))
    try:
        parts = urlsplit(origin)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no address"
    if not parts.scheme or (not host and parts.scheme != "file"):
        return "names no host"
    if parts.password is not None or parts.username != (_USERS.get(parts.scheme) if parts.username else None):
        return "holds a user or a password"
    if (host or "").startswith("-"):
        return "names no host"
    if parts.fragment or ".." in unquote(parts.path).split("/"):
        return "has a path that does not stand for itself"
    return None


def resolved(url: str, parent: str) -> str:
    """Return a submodule's address; a relative one (`../other.git`) is meant from its parent's, as git reads it."""
    if not url.startswith(("./", "../")):
        return url
    base = parent.rstrip("/")
    if url.count("../") >= urlsplit(base).path.count("/"):
        return url  # it leaves the host, and is refused like any other address that is none
    return urljoin(base + "/", url).rstrip("/")
