"""The runtimes of a machine, in one folder that its workers share: found, built once whoever asks, used, removed.

    {fingerprint}/             a finished one: what `make` put there, and `build.json`, which is written last
    {fingerprint}.part/        one that is being built, or what a killed build left
    {fingerprint}.failed/      of the last build that failed: `build.failed.json` and `build.log`
    .removed-…/                one that is being removed
    .locks/{fingerprint}.build who holds it exclusively builds or removes
    .locks/{fingerprint}.use   who holds it uses the runtime (shared), or removes it; its time is that of the last use

Locks are the kernel's: it lets go of those of whoever dies. Lock files stay, for one that was removed locks nothing.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from runflow.worker.engine.boundary import Budget, Folder
from runflow.worker.runtime.build.failed import LOG, RuntimeBuildFailed, read_failure, write_failure
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.record import now, write_atomically

RECORD = "build.json"
_PART, _FAILED, _REMOVED, _LOCKS = ".part", ".failed", ".removed-", ".locks"
_FINGERPRINT = re.compile(r"[A-Za-z0-9_-]{8,128}")
_WAIT_SECONDS = 0.1
_TRIES = 5
_DAY_SECONDS = 86_400
_FAILED_SECONDS = 15 * 60.0

Make = Callable[[Path], Awaitable[Mapping[str, Any] | None]]
"""Puts a runtime into an empty folder, which moves when it is done; what it returns stands in `build.json`."""


class RuntimeMissing(InstallError):
    """No finished runtime has this fingerprint here; build it. Another worker may have removed it."""


class RuntimeInUse(InstallError):
    """A runtime cannot be removed, for somebody uses or builds it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A finished runtime and its folder."""

    fingerprint: str
    folder: Path

    @property
    def comfyui(self) -> Path:
        """The folder of its ComfyUI."""
        return self.folder / "comfyui"

    @property
    def log(self) -> Path:
        """What was said when it was built."""
        return self.folder / LOG

    def record(self) -> dict[str, Any]:
        """Return what stands in `build.json`."""
        found: dict[str, Any] = orjson.loads((self.folder / RECORD).read_bytes())
        return found


@dataclass(frozen=True, slots=True)
class Size:
    """What a runtime takes. `own_bytes`: what its removal gives back, for files with other names have none of it."""

    runtime: Runtime
    own_bytes: int
    apparent_bytes: int
    last_used: float


class Runtimes:
    """The folder of a machine's runtimes. `most_bytes` 0: as many as the disk holds; `most_days` 0: for ever."""

    def __init__(
        self, folder: Path, most_bytes: int = 0, most_days: float = 30, failed_seconds: float = _FAILED_SECONDS
    ) -> None:
        """Use a folder. `failed_seconds`: how long a build that failed for good is not tried again."""
        self.folder = folder
        self._most_bytes = most_bytes
        self._most_days = most_days
        self._failed_seconds = failed_seconds

    def find(self, fingerprint: str) -> Runtime | None:
        """Return a finished runtime, None where there is none."""
        place = self._place(fingerprint)
        return Runtime(fingerprint, place) if (place / RECORD).is_file() else None

    async def build(self, fingerprint: str, make: Make, *, force: bool = False) -> Runtime:
        """Return the runtime, built by `make` unless it is there or somebody else builds it meanwhile.

        Raises `RuntimeBuildFailed`, also that of a build which failed for good a short while ago, unless `force`.
        """
        if (found := self._touched(fingerprint)) is not None:
            return found
        async with self._building(fingerprint):
            if (found := self._touched(fingerprint)) is not None:
                return found
            failed = self._place(fingerprint, _FAILED)
            if not force and (failure := read_failure(failed, self._failed_seconds)) is not None:
                raise failure
            part = self._place(fingerprint, _PART)
            await self._discard(part)
            part.mkdir()
            try:
                facts = await make(part)
            except RuntimeBuildFailed as failure:
                write_failure(failed, failure, part)
                await self._discard(part)
                raise
            place = self._place(fingerprint)
            await self._discard(place)  # it has no record, so nobody finds it
            _finish(part, place, fingerprint, facts or {})
            self._touch(fingerprint)
            await self._discard(failed)
            return Runtime(fingerprint, place)

    def failure(self, fingerprint: str) -> RuntimeBuildFailed | None:
        """Return how the last build failed, None where it did not."""
        return read_failure(self._place(fingerprint, _FAILED))

    @contextlib.contextmanager
    def use(self, fingerprint: str) -> Iterator[Runtime]:
        """Keep a runtime from being removed, by whichever worker, and note that it is used. Raises `RuntimeMissing`."""
        with self._held(fingerprint, "use", fcntl.LOCK_SH) as lock:
            found = self.find(fingerprint)
            if found is None:
                raise RuntimeMissing(f"There is no runtime {fingerprint} in {self.folder}. Build it again.")
            os.utime(lock)
            try:
                yield found
            finally:
                os.utime(lock)

    def list(self) -> tuple[Size, ...]:
        """Return the finished runtimes with their sizes, the least recently used first."""
        found = []
        for runtime in self._finished():
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                own, apparent = _sizes(runtime.folder)
                found.append(Size(runtime, own, apparent, self._last_used(runtime)))
        return tuple(sorted(found, key=lambda size: size.last_used))

    def evict(self) -> tuple[Runtime, ...]:
        """Remove what nobody has used for too long or, if all take too much, for longest; return those.

        None that is in use. What killed builds and removals left goes, too, and what is known of builds that failed as
        long ago.
        """
        self._clean()
        sizes = self.list()
        used = sum(size.own_bytes for size in sizes)
        oldest = time.time() - self._most_days * _DAY_SECONDS if self._most_days else 0.0
        for fingerprint, failed_at in self.failures():
            if failed_at < oldest:
                self.forget_failure(fingerprint, failed_at)
        evicted = []
        for size in sizes:
            is_old = size.last_used < oldest
            is_too_much = self._most_bytes and used > self._most_bytes
            if (is_old or is_too_much) and self.remove_unused(size.runtime.fingerprint, size.last_used):
                used -= size.own_bytes
                evicted.append(size.runtime)
        return tuple(evicted)

    def evict_unless(self, needed: Collection[str], idle_seconds: float) -> tuple[Runtime, ...]:
        """Remove what is not among the needed ones and was not used for so long; return those. None that is in use."""
        self._clean()
        evicted = []
        for runtime in list(self._finished()):
            used = self._last_used(runtime)
            is_idle = runtime.fingerprint not in needed and used < time.time() - idle_seconds
            if is_idle and self.remove_unused(runtime.fingerprint, used):
                evicted.append(runtime)
        return tuple(evicted)

    def uses(self) -> tuple[tuple[Runtime, float], ...]:
        """Return the finished runtimes, each with the time of its last use."""
        return tuple((runtime, self._last_used(runtime)) for runtime in self._finished())

    def failures(self) -> tuple[tuple[str, float], ...]:
        """Return the fingerprints of builds that failed, each with the time at which that was."""
        found = []
        for entry in sorted(self.folder.glob(f"*{_FAILED}")):
            if _FINGERPRINT.fullmatch(fingerprint := entry.name.removesuffix(_FAILED)):
                with contextlib.suppress(FileNotFoundError):
                    found.append((fingerprint, entry.stat().st_mtime))
        return tuple(found)

    def is_building(self) -> bool:
        """Tell whether somebody builds here now."""
        for entry in sorted(self.folder.glob(f"*{_PART}")):
            if _FINGERPRINT.fullmatch(fingerprint := entry.name.removesuffix(_PART)):
                try:
                    with self._held(fingerprint, "build", fcntl.LOCK_EX | fcntl.LOCK_NB):
                        pass
                except BlockingIOError:
                    return True
        return False

    def remove_unused(self, fingerprint: str, last_used: float) -> bool:
        """Remove a runtime unless it is in use, or was used after that time; tell whether it was removed."""
        try:
            self._remove(fingerprint, only_if_before=last_used)
        except (RuntimeInUse, RuntimeMissing):
            return False
        return True

    def forget_failure(self, fingerprint: str, failed_at: float) -> bool:
        """Remove what is known of a build that failed at that time, unless it is built again; tell whether it was."""
        failed = self._place(fingerprint, _FAILED)
        try:
            with self._held(fingerprint, "build", fcntl.LOCK_EX | fcntl.LOCK_NB):
                if failed.stat().st_mtime > failed_at:
                    return False
                away = self._put_away(failed)
        except (BlockingIOError, FileNotFoundError):
            return False
        _removed(away)
        return True

    def remove(self, fingerprint: str) -> None:
        """Remove a runtime, and what is known of a build that failed. Raises `RuntimeInUse` and `RuntimeMissing`."""
        self._remove(fingerprint)
        _removed(self._place(fingerprint, _FAILED))

    def _remove(self, fingerprint: str, *, only_if_before: float | None = None) -> None:
        try:
            with (
                self._held(fingerprint, "build", fcntl.LOCK_EX | fcntl.LOCK_NB),
                self._held(fingerprint, "use", fcntl.LOCK_EX | fcntl.LOCK_NB) as lock,
            ):
                found = self.find(fingerprint)
                if found is None:
                    raise RuntimeMissing(f"There is no runtime {fingerprint} in {self.folder}, so none was removed.")
                if only_if_before is not None and os.fstat(lock).st_mtime > only_if_before:
                    raise RuntimeInUse(f"The runtime {fingerprint} was used meanwhile.")
                away = self._put_away(found.folder)
        except BlockingIOError:
            raise RuntimeInUse(
                f"The runtime {fingerprint} in {self.folder} is in use. Remove it once no engine runs in it."
            ) from None
        _removed(away)

    def _put_away(self, place: Path) -> Path:
        """Give a folder that is to be removed a name at which nobody looks for it."""
        return place.rename(self.folder / f"{_REMOVED}{secrets.token_hex(8)}")

    async def _discard(self, place: Path) -> None:
        """Remove a folder, or nothing. Who is cancelled lets go of the lock while a thread still removes."""
        with contextlib.suppress(FileNotFoundError):
            away = self._put_away(place)
            await asyncio.to_thread(_removed, away)

    def _clean(self) -> None:
        """Remove what killed builds and removals have left."""
        if not self.folder.is_dir():
            return
        for entry in sorted(self.folder.iterdir()):
            if entry.name.startswith(_REMOVED):
                _removed(entry)
            elif entry.name.endswith(_PART) and _FINGERPRINT.fullmatch(entry.name.removesuffix(_PART)):
                fingerprint = entry.name.removesuffix(_PART)
                with (
                    contextlib.suppress(BlockingIOError),
                    self._held(fingerprint, "build", fcntl.LOCK_EX | fcntl.LOCK_NB),
                ):
                    _removed(entry)

    def _finished(self) -> Iterator[Runtime]:
        for entry in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            if _FINGERPRINT.fullmatch(entry.name) and (found := self.find(entry.name)) is not None:
                yield found

    def _place(self, fingerprint: str, kind: str = "") -> Path:
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise ValueError(f"{fingerprint!r} is no fingerprint of a runtime.")
        return self.folder / f"{fingerprint}{kind}"

    def _lock_path(self, fingerprint: str, kind: str) -> Path:
        return self.folder / _LOCKS / self._place(fingerprint, f".{kind}").name

    def _last_used(self, runtime: Runtime) -> float:
        try:
            return self._lock_path(runtime.fingerprint, "use").stat().st_mtime
        except FileNotFoundError:
            return (runtime.folder / RECORD).stat().st_mtime

    def _touched(self, fingerprint: str) -> Runtime | None:
        """Who asks for a runtime is about to use it, so it is not the next one to go."""
        found = self.find(fingerprint)
        if found is not None:
            self._touch(fingerprint)
        return found

    def _touch(self, fingerprint: str) -> None:
        path = self._lock_path(fingerprint, "use")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    @contextlib.contextmanager
    def _held(self, fingerprint: str, kind: str, how: int) -> Iterator[int]:
        """Hold a lock. Raises BlockingIOError where `how` says not to wait."""
        path = self._lock_path(fingerprint, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, how)
            yield lock
        finally:
            os.close(lock)

    @contextlib.asynccontextmanager
    async def _building(self, fingerprint: str) -> AsyncIterator[None]:
        """Hold the right to build, waiting for whoever has it, in a way that can be cancelled."""
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(self._held(fingerprint, "build", fcntl.LOCK_EX | fcntl.LOCK_NB))
                    break
                except BlockingIOError:
                    await asyncio.sleep(_WAIT_SECONDS)
            yield


def _finish(part: Path, place: Path, fingerprint: str, facts: Mapping[str, Any]) -> None:
    """Write the record of a build, and let it be found."""
    record = {**facts, "fingerprint": fingerprint, "built_at": now()}
    write_atomically(part / RECORD, orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
    part.rename(place)


def _removed(place: Path) -> None:
    """Remove a folder, or nothing, though others do the same, and however deep it is."""
    for tries_left in reversed(range(_TRIES)):
        try:
            with Folder.at(place.parent) as above:
                above.remove(place.name, Budget(entries=50_000_000, seconds=3600.0))
            return
        except OSError:
            if not tries_left:
                raise


def _sizes(folder: Path) -> tuple[int, int]:
    """Return what its removal gives back, and what it has altogether: files of uv's cache have another name there."""
    own = apparent = 0
    left = [str(folder)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    left.append(entry.path)
                elif found.st_nlink > 1:
                    apparent += found.st_size
                    continue
                else:
                    apparent += found.st_size
                own += found.st_blocks * 512
    return own, apparent
