"""The operator's own models: those that every engine of a ComfyUI finds, and what they hold."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path

from runflow.worker.abilities.model_files import ModelRoots, Unreadable, files_below, shown_roots
from runflow.worker.store.known_hashes import BackgroundHasher, KnownHashes
from runflow.worker.store.paths import kinds_of

_REMEMBER_SECONDS = 1.0
"""For so long it is good enough which folders the settings name."""
_LOOK_SECONDS = 30.0


class OwnModels:
    """Models in ComfyUI's folder and in those that its settings name.

    `folders` returns what engines see of the latter (`Registrar`). Nothing that an engine can write is among them.
    """

    def __init__(self, comfyui: Path, known: KnownHashes, folders: Callable[[], Awaitable[tuple[Path, ...]]]) -> None:
        """Look in the models of `comfyui`; `known` remembers what was read."""
        self._comfyui = comfyui
        self._folders = folders
        self.known = known
        self.learned = 0
        """How many hashes became known so far: when it grows, there is more to tell."""
        self.is_told = True
        """Whether all folders are known; else an engine may find a file that is not found here."""
        self._looked = ModelRoots(())
        self._looked_at = float("-inf")
        self._reading: set[asyncio.Task[str]] = set()

    async def find(self, paths: Collection[str]) -> dict[str, Path]:
        """Return the files that an engine finds under these paths (`model_path`), as far as there are any."""
        roots = await self._roots()
        return await asyncio.to_thread(_find, roots, paths)

    async def find_anywhere(self, path: str) -> Path | None:
        """Return a file whose path ends like this: what the author's path has before that may be missing here."""
        roots = await self._roots()
        return await asyncio.to_thread(_find_anywhere, roots, path)

    def is_first(self, file: Path) -> bool:
        """Tell whether a file comes before what an engine is given under its path: its folder is the default one."""
        return any(file.is_relative_to(folder) for folder in self._looked.first)

    async def sha256(self, file: Path) -> str:
        """Return what a file holds, read if that is not known; to the end, whoever waits for it.

        Raises `FileChanged`, and OSError.
        """
        known = self.known.known(file)
        if known is not None:
            return known
        reading = asyncio.create_task(self.known.hash(file))
        self._reading.add(reading)
        reading.add_done_callback(self._done)
        return await asyncio.shield(reading)

    def _done(self, reading: "asyncio.Task[str]") -> None:
        self._reading.discard(reading)
        if not reading.cancelled():
            reading.exception()  # whoever waits for it has it

    def holding(self, sha256: str) -> Path | None:
        """Return a file of these folders that is known to have this content."""
        named = (*self._looked.roots, *(folder for _, folder in self._looked.of_kind))
        folders = [os.path.abspath(folder) for folder in named]  # noqa: PTH100 (keeps links, as what is known does)
        return self.known.find(sha256, lambda file: any(file.is_relative_to(folder) for folder in folders))

    async def keep_reading(self) -> None:
        """Read in the background what nobody has read yet, until cancelled."""

        def note(_path: Path, _sha256: str) -> None:
            self.learned += 1

        await self._roots()
        hasher = BackgroundHasher(self.known, self._files, on_hashed=note, every_seconds=_LOOK_SECONDS)
        async with asyncio.TaskGroup() as group:
            group.create_task(hasher.run())
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                before = self._looked
                if await self._roots() != before:
                    hasher.wake()

    def _files(self) -> Iterator[Path]:
        with contextlib.suppress(Unreadable):
            yield from files_below(self._looked)

    async def _roots(self) -> ModelRoots:
        if time.monotonic() - self._looked_at > _REMEMBER_SECONDS:
            folders = await self._folders()
            try:
                self._looked = await asyncio.to_thread(shown_roots, self._comfyui, folders)
                self.is_told = True
            except Unreadable:
                self._looked, self.is_told = ModelRoots((self._comfyui / "models",)), False
            self._looked_at = time.monotonic()
        return self._looked


def _find(roots: ModelRoots, paths: Collection[str]) -> dict[str, Path]:
    found = {}
    for path in paths:
        for place in _places(roots, path):
            with contextlib.suppress(OSError, ValueError):
                if place.is_file():
                    found[path] = place
                    break
    return found


def _places(roots: ModelRoots, path: str) -> Iterator[Path]:
    """Yield where ComfyUI looks for a path, in its order: what the settings name comes before its own folder."""
    kind, _, name = path.partition("/")
    if not name:
        return
    kinds = kinds_of(kind)
    yield from (folder / name for one, folder in roots.of_kind if one in kinds)
    for root in roots.roots:
        yield from (root / one / name for one in kinds)


def _find_anywhere(roots: ModelRoots, path: str) -> Path | None:
    end = f"/{path}"
    with contextlib.suppress(Unreadable):
        return next((file for file in files_below(roots) if file.as_posix().endswith(end)), None)
    return None
