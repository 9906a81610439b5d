"""A git checkout: where it comes from and at which commit it is, read without running git where that is possible."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

_REMOTE = re.compile(r'^\s*\[remote "origin"\]\s*$(.*?)(?=^\s*\[|\Z)', re.MULTILINE | re.DOTALL)
_URL = re.compile(r"^\s*url\s*=\s*(.+?)\s*$", re.MULTILINE)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SCP_LIKE = re.compile(r"(?:[^/@:\s]+@)?(?P<host>[^/@:\s]{2,}):(?!//)(?P<path>\S+)")
SECRET_PARAMETER = re.compile(r"token|key|secret|signature|password|credential|auth|policy", re.IGNORECASE)
"""Names of query parameters that hold a secret."""
_STATUS_SECONDS = 20


@dataclass(frozen=True)
class Checkout:
    """A folder under git. `dirty`: tracked files differ from the commit; None where git is not there to say."""

    origin: str | None
    commit: str | None
    dirty: bool | None

    def to_dict(self) -> dict[str, Any]:
        """The manifest's form."""
        return {"origin": self.origin, "commit": self.commit, "dirty": self.dirty}


def read_checkout(folder: Path) -> Checkout | None:
    """Read the checkout whose top is `folder`; None where it is not one (a parent's checkout does not count)."""
    git = _git_folder(folder)
    if git is None:
        return None
    return Checkout(read_origin(folder), _commit(git, _common_folder(git)), _is_dirty(folder))


def read_origin(folder: Path) -> str | None:
    """Where the checkout in `folder` comes from, as others may know it; None where it is none or does not tell."""
    git = _git_folder(folder)
    try:
        config = (_common_folder(git) / "config").read_text(encoding="utf-8", errors="replace") if git else ""
    except OSError:
        config = ""
    remote = _REMOTE.search(config)
    url = _URL.search(remote.group(1)) if remote else None
    return public_origin(url.group(1)) if url else None


def public_origin(url: str) -> str | None:
    """The address of a repository as others may know it: without credentials; None for a folder of this machine."""
    url = url.strip().strip('"')
    if "://" not in url:
        found = _SCP_LIKE.fullmatch(url)
        return f"ssh://git@{found['host']}/{found['path'].lstrip('/')}" if found else None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme.lower() in ("ssh", "git+ssh") and parts.hostname:
        user = f"{parts.username}@" if parts.username else ""
        return urlunsplit((parts.scheme, user + parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return without_credentials(url)


def without_credentials(url: str) -> str | None:
    """A URL without user, password, fragment and secret query parameters; None where it is no web address."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return None
    if parts.scheme.lower() not in ("https", "http", "git") or not parts.hostname:
        return None
    kept = [(name, value) for name, value in query if not SECRET_PARAMETER.search(name)]
    text = parts.query if len(kept) == len(query) else urlencode(kept)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, text, ""))


def _git_folder(folder: Path) -> Path | None:
    git = folder / ".git"
    if git.is_dir():
        return git
    try:
        text = git.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    # A worktree or a submodule: a file that names the folder.
    return (folder / text.removeprefix("gitdir:").strip()) if text.startswith("gitdir:") else None


def _common_folder(git: Path) -> Path:
    try:
        return git / (git / "commondir").read_text(encoding="utf-8").strip()
    except OSError:
        return git


def _commit(git: Path, common: Path) -> str | None:
    try:
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    name = head.removeprefix("ref:").strip()
    if name == head:
        return head if _COMMIT.fullmatch(head) else None
    for folder in (git, common):
        try:
            found = (folder / name).read_text(encoding="utf-8").strip()
        except OSError:
            continue
        return found if _COMMIT.fullmatch(found) else None
    try:
        packed = (common / "packed-refs").read_text(encoding="utf-8")
    except OSError:
        return None
    rows = (line.split(" ", 1) for line in packed.splitlines() if line[:1] not in "#^")
    return next((row[0] for row in rows if row[1:] == [name]), None)


def _is_dirty(folder: Path) -> bool | None:
    command = ["git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "--no-optional-locks"]
    command += ["-C", str(folder), "status", "--porcelain", "--untracked-files=no"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_STATUS_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(done.stdout.strip())
