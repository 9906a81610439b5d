"""The operator's own models: those that every engine of a ComfyUI finds, and what they hold."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from pathlib import Path

from runflow.worker.model_files import ModelRoots, Unreadable, files_below, shown_roots
from runflow.worker.store.known_hashes import BackgroundHasher, KnownHashes

_REMEMBER_SECONDS = 1.0
"""For so long it is good enough which folders the settings name."""
_SAME_KIND = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
"""Folders of `models/` that ComfyUI reads as one kind: the old name and the new one."""


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
        self._looked = ModelRoots(())
        self._looked_at = float("-inf")

    async def find(self, paths: Collection[str]) -> dict[str, Path]:
        """Return the files that an engine finds under these paths below `models/`, as far as there are any."""
        roots = await self._roots()
        return await asyncio.to_thread(_find, roots, paths)

    async def sha256(self, file: Path) -> str:
        """Return what a file holds, read if that is not known. Raises `FileChanged`, and OSError."""
        return self.known.known(file) or await self.known.hash(file)

    def holding(self, sha256: str) -> Path | None:
        """Return a file that is known to have this content."""
        return self.known.find(sha256)

    async def keep_reading(self) -> None:
        """Read in the background what nobody has read yet, until cancelled."""
        await self._roots()

        def note(_path: Path, _sha256: str) -> None:
            self.learned += 1

        await BackgroundHasher(self.known, self._files, on_hashed=note).run()

    def _files(self) -> Iterator[Path]:
        with contextlib.suppress(Unreadable):
            yield from files_below(self._looked)

    async def _roots(self) -> ModelRoots:
        if time.monotonic() - self._looked_at > _REMEMBER_SECONDS:
            try:
                self._looked = shown_roots(self._comfyui, await self._folders())
            except Unreadable:
                self._looked = ModelRoots((self._comfyui / "models",))
            self._looked_at = time.monotonic()
        return self._looked


def _find(roots: ModelRoots, paths: Collection[str]) -> dict[str, Path]:
    found = {}
    for path in paths:
        for place in _places(roots, path.replace("\\", "/")):
            with contextlib.suppress(OSError, ValueError):
                if place.is_file():
                    found[path] = place
                    break
    return found


def _places(roots: ModelRoots, path: str) -> Iterator[Path]:
    kind, _, name = path.partition("/")
    kinds = {kind, _SAME_KIND.get(kind, kind), *(old for old, new in _SAME_KIND.items() if new == kind)}
    for root in roots.roots:
        yield from (root / one / name for one in sorted(kinds, key=lambda one: one != kind))
    yield from (folder / name for one, folder in roots.of_kind if one in kinds)
