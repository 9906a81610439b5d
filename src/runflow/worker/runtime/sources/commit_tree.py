"""What a commit holds, read from git's objects before anything is written, and refused where it could do harm."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runflow.worker.runtime.commands import CommandFailed, SourceRefused
from runflow.worker.runtime.sources.guarded_git import GuardedGit

_SECONDS = 300
_FILES = ("100644", "100755", "100664")
_LINK, _MODULE = "120000", "160000"
_GIT_FOLDER = re.compile(r"\.git|git~\d+", re.IGNORECASE)
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
"""Characters that some file systems drop from names."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a commit; `size` of what is no file is 0."""

    mode: str
    object_id: str
    size: int
    path: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.mode in _FILES

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == _LINK

    @property
    def is_module(self) -> bool:
        """Whether it is a submodule; its object id is the commit that was recorded."""
        return self.mode == _MODULE


def list_tree(git: GuardedGit, mirror: Path, commit: str, path: str | None = None) -> list[Entry]:
    """Return everything that a commit holds, or what it has at exactly this path. Raises CommandFailed."""
    which = ["--", path] if path is not None else []
    flags = ["-z", "-l", "--full-tree", *([] if which else ["-r"])]
    listed = git.output(mirror, "ls-tree", *flags, commit, *which, seconds=_SECONDS)
    return [_entry(line) for line in listed.split(b"\0") if line]


def _entry(line: bytes) -> Entry:
    facts, _, path = line.partition(b"\t")
    mode, _, object_id, size = facts.decode().split()
    return Entry(mode, object_id, int(size) if size.isdigit() else 0, path.decode("utf-8", "surrogateescape"))


def refuse_harmful(entries: Iterable[Entry], source: str) -> None:
    """Refuse a tree that would be written beside, above or into something else than its own folder.

    git refuses most of this itself; what we promise does not rest on its version. Raises SourceRefused.
    """
    links = {_folded(entry.path) for entry in entries if entry.is_link}
    for entry in entries:
        parts = PurePosixPath(entry.path).parts
        if entry.path.startswith("/") or ".." in entry.path.split("/") or "\\" in entry.path:
            raise SourceRefused(f"{source} holds the path {entry.path!r}, which leaves its folder. It is not taken.")
        if any(_GIT_FOLDER.fullmatch(_UNSEEN.sub("", part).split(":")[0].rstrip(" .")) for part in parts):
            raise SourceRefused(f"{source} holds the path {entry.path!r}, which git means for itself. It is not taken.")
        above = (_folded(str(folder)) for folder in PurePosixPath(entry.path).parents)
        if links and any(folder in links for folder in above):
            raise SourceRefused(f"{source} holds the path {entry.path!r} below a symbolic link. It is not taken.")


def _folded(path: str) -> str:
    return path.casefold()


def read_modules(git: GuardedGit, mirror: Path, commit: str, source: str) -> Mapping[str, str]:
    """Return the addresses that a commit's .gitmodules names, by path. Raises SourceRefused where it is no file."""
    found = list_tree(git, mirror, commit, ".gitmodules")
    if not found:
        return {}
    if not found[0].is_file:
        raise SourceRefused(f"{source} has a .gitmodules that is no regular file. It is not taken.")
    try:
        listed = git.output(mirror, "config", "--blob", found[0].object_id, "-z", "--list", seconds=_SECONDS)
    except CommandFailed:
        raise SourceRefused(f"{source} has a .gitmodules that git cannot read. It is not taken.") from None
    modules: dict[str, dict[str, str]] = {}
    for line in listed.decode("utf-8", "replace").split("\0"):
        key, _, value = line.partition("\n")
        section, _, name = key.rpartition(".")
        if section.startswith("submodule.") and name in ("path", "url"):
            modules.setdefault(section, {})[name] = value
    return {one["path"].rstrip("/"): one["url"] for one in modules.values() if "path" in one and "url" in one}
