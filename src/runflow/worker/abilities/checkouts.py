"""Git checkouts on this machine: where they come from and at which commit they are, read without running git.

What is read may be anybody's folder (a node pack), so nothing of it is believed that has not the shape of a commit or
of a public address.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_REMOTE = re.compile(r'^\s*\[remote "origin"\]\s*$(.*?)(?=^\s*\[|\Z)', re.MULTILINE | re.DOTALL)
_URL = re.compile(r"^\s*url\s*=\s*(.+?)\s*$", re.MULTILINE)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP_LIKE = re.compile(r"(?:[^/@:\s]+@)?(?P<host>[^/@:\s]{2,}):(?!//)(?P<path>\S+)")
_SECRET_PARAMETER = re.compile(r"token|key|secret|signature|password|credential|auth|policy", re.IGNORECASE)
_MOST_BYTES = 1024 * 1024
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Checkout:
    """A git checkout. Its origin without credentials; None: it does not say, or it is a folder of this machine."""

    origin: str | None
    commit: str | None


def read_checkout(folder: Path) -> Checkout | None:
    """Return the checkout whose top is `folder`; None where it is none. A parent's checkout does not count."""
    git = _git_folder(folder)
    if git is None:
        return None
    named = (_text(git / "commondir") or "").strip()
    common = git / named if named else git
    remote = _REMOTE.search(_text(common / "config") or "")
    url = _URL.search(remote.group(1)) if remote else None
    return Checkout(_public(url.group(1)) if url else None, _commit(git, common))


def _git_folder(folder: Path) -> Path | None:
    git = folder / ".git"
    if git.is_dir():
        return git
    # A worktree or a submodule: a file that names the folder.
    text = (_text(git) or "").strip()
    return folder / text.removeprefix("gitdir:").strip() if text.startswith("gitdir:") else None


def _commit(git: Path, common: Path) -> str | None:
    head = (_text(git / "HEAD") or "").strip()
    name = head.removeprefix("ref:").strip()
    if name == head:
        return head if _COMMIT.fullmatch(head) else None
    if ".." in name or name.startswith("/"):
        return None
    for folder in (git, common):
        found = (_text(folder / name) or "").strip()
        if _COMMIT.fullmatch(found):
            return found
    rows = (line.split(" ", 1) for line in (_text(common / "packed-refs") or "").splitlines() if line[:1] not in "#^")
    packed = next((row[0] for row in rows if row[1:] == [name]), "")
    return packed if _COMMIT.fullmatch(packed) else None


def _public(url: str) -> str | None:
    """Return the address of a repository as others may know it, and as a manifest names it (plugin/manifest)."""
    url = url.strip().strip('"')
    if len(url) > _LONGEST:
        return None
    if "://" not in url:
        found = _SCP_LIKE.fullmatch(url)
        return f"ssh://git@{found['host']}/{found['path'].lstrip('/')}" if found else None
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2]
    if not parts.hostname:
        return None
    if parts.scheme in ("ssh", "git+ssh"):
        user = f"{parts.username}@" if parts.username else ""
        return urlunsplit((parts.scheme, user + host, parts.path, "", ""))
    if parts.scheme not in ("https", "http", "git"):
        return None
    kept = [(name, value) for name, value in query if not _SECRET_PARAMETER.search(name)]
    text = parts.query if len(kept) == len(query) else urlencode(kept)
    return urlunsplit((parts.scheme, host, parts.path, text, ""))


def _text(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):  # not there, or a name that no file can have
        return None
    with os.fdopen(descriptor, "rb") as file:
        # Of a pipe or a device there would be no end.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
