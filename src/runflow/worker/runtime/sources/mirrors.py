"""Sources of strangers at exact commits: bare mirrors that are shared between runtimes, and trees written from them."""

import fcntl
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from runflow.protocol.origins import is_commit, origin_fault, resolved, undecorated
from runflow.worker.runtime.commands import CommandFailed, SourceRefused, without_credentials
from runflow.worker.runtime.sources.commit_tree import Entry, list_tree, read_modules, refuse_harmful
from runflow.worker.runtime.sources.guarded_git import GuardedGit, TooMuch

MayFetch = Callable[[str, str], None]
"""Asked with origin and commit before a source is used; it raises where that must not be."""

_SECONDS = 120
_REMOVED = ".removed-"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a source may be. `files` and `bytes` count a tree with its submodules, `fetch_bytes` one transfer."""

    files: int = 50_000
    bytes: int = 2 << 30
    fetch_bytes: int = 2 << 30
    fetch_seconds: float = 1_800
    modules: int = 50
    depth: int = 4


@dataclass(frozen=True, slots=True)
class Checkout:
    """A tree that was written. `sources`: origin and commit of it and of every submodule; `notes`: what it lacks."""

    tree: Path
    sources: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Writing:
    """What a checkout has come to so far."""

    may_fetch: MayFetch
    beside: Path
    """A folder of ours, for what is needed meanwhile: who is killed leaves it where the build is cleared away."""
    sources: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    links: list[tuple[Path, str]] = field(default_factory=list)
    files: int = 0
    bytes: int = 0


def anything(origin: str, commit: str) -> None:
    """Allow every source; what is fetched was approved before."""


class Mirrors:
    """The mirrors below a folder, one for each origin. Processes may share them: one at a time fetches into one."""

    def __init__(self, folder: Path, *, allowed_prefixes: Collection[str] = (), limits: Limits | None = None) -> None:
        """Keep the mirrors in `folder`; `allowed_prefixes` are starts of addresses that are taken beside `https://`."""
        self.folder = folder
        self.limits = limits or Limits()
        self._allowed = tuple(allowed_prefixes)
        self._git = GuardedGit(self._allowed)

    def path(self, origin: str) -> Path:
        """Return where the mirror of an origin lies, whether it is there or not."""
        return self.folder / f"{hashlib.sha256(undecorated(origin).encode()).hexdigest()}.git"

    def has(self, origin: str, commit: str) -> bool:
        """Return whether a commit is there with all that it holds."""
        try:
            self._git.output(
                self.path(origin), "rev-parse", "--verify", "--quiet", _kept(commit), "--", seconds=_SECONDS
            )
        except CommandFailed:
            return False
        return True

    def look_up(self, origin: str, ref: str | None) -> str:
        """Return the commit that a branch or tag of an origin names now, or its default branch where `ref` is None.

        Raises SourceRefused where the address is not taken, does not answer, or has no such name.
        """
        if fault := origin_fault(origin, self._allowed):
            raise SourceRefused(f"The source {without_credentials(origin)!r} {fault}. Name another one.")
        if ref is not None and (ref.startswith("-") or not ref.isprintable()):
            raise SourceRefused(f"The source {origin} is asked for at {ref!r}, which names no branch or tag.")
        names = ["HEAD"] if ref is None else [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            told = _git_to(origin).output(self.folder, "ls-remote", "--quiet", "--", origin, *names, seconds=_SECONDS)
        except CommandFailed as error:
            raise SourceRefused(f"{origin} does not answer. Is it public, and reachable from here? {error}") from None
        rows = [line.split("\t") for line in told.decode(errors="replace").splitlines()]
        found = {row[1]: row[0] for row in rows if len(row) == 2}
        commit = next((found[name] for name in names if name in found), None)
        if commit is None or not is_commit(commit):
            raise SourceRefused(f"{origin} has no branch or tag {ref!r}. Take another commit of what asks for it.")
        return commit

    def fetch(self, origin: str, commit: str) -> None:
        """Fetch a commit that is not there: only it where the host allows that, else everything.

        Raises SourceRefused where the address is not taken or has no such commit.
        """
        if fault := origin_fault(origin, self._allowed):
            raise SourceRefused(f"The source {without_credentials(origin)!r} {fault}. Name another one.")
        if not is_commit(commit):
            raise SourceRefused(f"The source {origin} is asked for at {commit!r}, which is no full commit id.")
        mirror = self.path(origin)
        with self._used(mirror):
            if self.has(origin, commit):
                return
        with self._locked(mirror):
            if self.has(origin, commit):
                return
            _remove_leftovers(mirror)
            self._git.run(mirror, "init", "--quiet", "--bare", "--template=", seconds=_SECONDS)
            self._fetch(mirror, origin, commit)

    def _fetch(self, mirror: Path, origin: str, commit: str) -> None:
        try:
            self._transfer(mirror, origin, f"+{commit}:{_kept(commit)}", options=("--depth=1", "--no-tags"))
            return
        except CommandFailed as error:
            if error.code is None:
                raise self._not_had(origin, commit, error) from None
        # Hosts may refuse a commit that no branch or tag points at.
        whole = ["--unshallow"] if (mirror / "shallow").exists() else []
        try:
            everything = ("+refs/heads/*:refs/heads/*", "+HEAD:refs/runflow/HEAD")
            self._transfer(mirror, origin, *everything, options=(*whole, "--tags", "--force"))
        except CommandFailed as error:
            raise self._not_had(origin, commit, error) from None
        try:
            self._git.run(mirror, "update-ref", _kept(commit), f"{commit}^{{commit}}", seconds=_SECONDS)
        except CommandFailed:
            raise SourceRefused(f"{origin} has no commit {commit}. Was it pushed there, or taken away again?") from None

    def _transfer(self, mirror: Path, origin: str, *references: str, options: tuple[str, ...]) -> None:
        limits, arguments = self.limits, ("--quiet", *options, "--", origin, *references)
        _git_to(origin).run(mirror, "fetch", *arguments, seconds=limits.fetch_seconds, most_bytes=limits.fetch_bytes)

    def _not_had(self, origin: str, commit: str, error: CommandFailed) -> SourceRefused:
        limits = self.limits
        return SourceRefused(
            f"{commit} of {origin} could not be fetched ({limits.fetch_bytes:,} bytes and {limits.fetch_seconds:g} s "
            f"are allowed). Is the address public, and the host reachable from here? {error}"
        )

    def read(self, origin: str, commit: str, path: str, most_bytes: int) -> bytes | None:
        """Return one file of a commit that is there; None where the commit has no regular file of this path.

        Raises SourceRefused where it is larger than `most_bytes`, or the commit was not fetched.
        """
        if not self.has(origin, commit):
            raise SourceRefused(f"{commit} of {origin} is not here. Fetch it before a file of it is read.")
        if path.startswith("/") or ".." in path.split("/"):
            return None
        mirror = self.path(origin)
        found = [entry for entry in list_tree(self._git, mirror, commit, path) if entry.is_file and entry.path == path]
        if not found:
            return None
        if found[0].size > most_bytes:
            raise SourceRefused(f"{path} in {commit} of {origin} has {found[0].size:,} bytes; {most_bytes:,} are read.")
        return self._git.output(mirror, "cat-file", "blob", found[0].object_id, seconds=_SECONDS)

    def checkout(self, origin: str, commit: str, into: Path, may_fetch: MayFetch = anything) -> Checkout:
        """Write a commit with its submodules, at the commits that it records, into a folder that is not there yet.

        `may_fetch` is asked about each source before it is fetched. Nothing is left behind where it fails. Raises
        SourceRefused, what `may_fetch` raises, or InstallError where git fails for another reason (a full disk).
        """
        if into.exists():
            raise SourceRefused(f"{into} is there already; a source is written into a new folder only.")
        into.mkdir(parents=True)
        writing = _Writing(may_fetch, into.parent)
        try:
            self._write(origin, commit, into, 0, writing)
            _refuse_links_out(into, writing.links)
        except BaseException:
            shutil.rmtree(into)
            raise
        return Checkout(into, tuple(writing.sources), tuple(writing.notes))

    def _write(self, origin: str, commit: str, tree: Path, depth: int, writing: _Writing) -> None:
        writing.may_fetch(origin, commit)
        self.fetch(origin, commit)
        writing.sources.append((origin, commit))
        mirror = self.path(origin)
        try:
            entries = list_tree(self._git, mirror, commit)
        except TooMuch:
            raise SourceRefused(f"{origin} holds more paths than can be listed. It is not taken.") from None
        refuse_harmful(entries, origin)
        self._count(entries, origin, writing)
        with tempfile.TemporaryDirectory(prefix=".runflow-index-", dir=writing.beside) as scratch:
            # Only an index of its own: HEAD, hooks and the mirror's other users have no part in it.
            env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(tree)}
            self._git.output(mirror, "read-tree", commit, seconds=_SECONDS, env=env)
            arguments = ("checkout-index", "--all", "--force", "--quiet")
            self._git.output(mirror, *arguments, seconds=self.limits.fetch_seconds, env=env)
        writing.links += [(tree / entry.path, origin) for entry in entries if entry.is_link]
        self._write_modules(origin, commit, [entry for entry in entries if entry.is_module], tree, depth, writing)

    def _write_modules(
        self, origin: str, commit: str, modules: list[Entry], tree: Path, depth: int, writing: _Writing
    ) -> None:
        if not modules:
            return
        if depth >= self.limits.depth:
            raise SourceRefused(f"{origin} has submodules more than {self.limits.depth} levels deep. It is not taken.")
        addresses = read_modules(self._git, self.path(origin), commit, origin)
        for module in modules:
            url = addresses.get(module.path)
            if url is None:  # what a repository inside of another leaves when it is committed by mistake
                writing.notes.append(f"{origin} records {module.path} as a submodule without an address; it is empty.")
                continue
            if len(writing.sources) > self.limits.modules:
                raise SourceRefused(f"{origin} brings more than {self.limits.modules} submodules. It is not taken.")
            address = resolved(url, origin)
            if fault := origin_fault(address, self._allowed):
                shown = without_credentials(address)
                raise SourceRefused(f"{origin} has the submodule {module.path} from {shown!r}, which {fault}.")
            place = tree / module.path
            place.mkdir(parents=True, exist_ok=True)
            self._write(address, module.object_id, place, depth + 1, writing)

    def _count(self, entries: list[Entry], origin: str, writing: _Writing) -> None:
        writing.files += len(entries)
        writing.bytes += sum(entry.size for entry in entries)
        if writing.files > self.limits.files:
            raise SourceRefused(f"{origin} has more than {self.limits.files:,} files. It is not taken.")
        if writing.bytes > self.limits.bytes:
            raise SourceRefused(f"{origin} has more than {self.limits.bytes:,} bytes. It is not taken.")

    def uses(self) -> tuple[tuple[Path, float], ...]:
        """Return the mirrors, each with the time of its last use."""
        found = []
        for mirror in sorted(self.folder.glob("*.git")):
            with suppress(FileNotFoundError):
                used = mirror.with_suffix(".use")
                # One that was fetched by an older worker has none yet.
                found.append((mirror, (used if used.exists() else mirror).stat().st_mtime))
        return tuple(found)

    def remove_unused(self, mirror: Path, last_used: float) -> bool:
        """Remove a mirror unless it is in use, or was used after that time; tell whether it was removed.

        What was written from it stays; who needs it again fetches it again.
        """
        away = self.folder / f"{_REMOVED}{secrets.token_hex(8)}"
        try:
            with self._locked(mirror, fcntl.LOCK_EX | fcntl.LOCK_NB), _opened(mirror, last_used) as use:
                fcntl.flock(use, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(use).st_mtime > last_used:
                    return False
                mirror.rename(away)
        except (BlockingIOError, FileNotFoundError):
            return False
        shutil.rmtree(away, ignore_errors=True)
        return True

    def evict(self, idle_seconds: float) -> None:
        """Remove mirrors that nobody used for so long, and what killed removals have left."""
        for left in sorted(self.folder.glob(f"{_REMOVED}*")):
            shutil.rmtree(left, ignore_errors=True)
        for mirror, used in self.uses():
            if used < time.time() - idle_seconds:
                self.remove_unused(mirror, used)

    @contextmanager
    def _used(self, mirror: Path) -> Iterator[None]:
        """Note that a mirror is used, and keep it from being removed meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _opened(mirror, time.time()) as use:
            fcntl.flock(use, fcntl.LOCK_SH)
            os.utime(use)
            yield

    @contextmanager
    def _locked(self, mirror: Path, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        """Hold a mirror against other processes; the kernel lets go of it when we die."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with mirror.with_suffix(".lock").open("a") as file:
            fcntl.flock(file, how)
            yield


def _git_to(origin: str) -> GuardedGit:
    """Return a git that speaks this origin's protocol and `https`: where an origin redirects to no other is spoken."""
    return GuardedGit((origin,))


@contextmanager
def _opened(mirror: Path, last_used: float) -> Iterator[int]:
    """Open the file whose time is that of a mirror's last use, made with that time where there is none."""
    path = mirror.with_suffix(".use")
    flags = os.O_RDWR | os.O_CLOEXEC
    try:
        use = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
        os.utime(use, (last_used, last_used))
    except FileExistsError:
        use = os.open(path, flags)
    try:
        yield use
    finally:
        os.close(use)


def _kept(commit: str) -> str:
    """Return the reference that keeps a commit; it is written only when everything of it has arrived."""
    return f"refs/runflow/{commit}"


def _remove_leftovers(mirror: Path) -> None:
    """Remove what a fetch leaves that was killed: git would wait for its locks for ever."""
    for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/pack/*.lock"):
        for path in mirror.glob(pattern):
            path.unlink(missing_ok=True)


def _refuse_links_out(tree: Path, links: list[tuple[Path, str]]) -> None:
    """Refuse symbolic links that lead out of the tree, by way of others too."""
    root = tree.resolve()
    for link, origin in links:
        try:
            is_inside = link.resolve().is_relative_to(root) and not link.readlink().is_absolute()
        except (OSError, RuntimeError):
            is_inside = False
        if not is_inside:
            shown = str(link.relative_to(tree))
            raise SourceRefused(f"{origin} holds the symbolic link {shown!r}, which leads out of it. It is not taken.")
