"""Giving models to engines: one more name of a content in the engine's own folder, until it is needed no more."""

import contextlib
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

import orjson

from runflow.worker.engine.base import EngineError
from runflow.worker.engine.boundary import NO_FOLDER, Folder
from runflow.worker.engine.folders import LIVES, PLACED_MODELS, placed_before, take_away
from runflow.worker.runtime.record import write_atomically

UNUSED_SECONDS = 600.0
"""So long after its last run a content stays in an engine: then it may leave the store, too."""


class Placer:
    """Knows what the engines of a worker were given. Any thread may use it; no method but `place` waits for a disk."""

    def __init__(self) -> None:
        """Begin with no engine."""
        self._engines: dict[Path, dict[str, str]] = {}
        """By their folder of models: which content is at which path."""
        self._users: Counter[str] = Counter()
        self._used_at: dict[str, float] = {}
        self._guard = threading.RLock()
        self._remembering = threading.Lock()

    def begin(self, contents: Collection[str]) -> None:
        """A run needs these contents in its engine."""
        with self._guard:
            self._users.update(contents)

    def end(self, contents: Collection[str]) -> None:
        """A run that began needs them no more."""
        with self._guard:
            self._users.subtract(contents)
            self._users = +self._users
            self._used_at.update(dict.fromkeys(contents, time.monotonic()))

    def has(self, contents: Mapping[str, str], folder: Path) -> bool:
        """Tell whether the engine with this folder of models has these contents at these paths."""
        with self._guard:
            placed = self._engines.get(folder, {})
            return all(
                placed.get(path) == content and os.path.lexists(folder / path) for path, content in contents.items()
            )

    def place(self, path: str, content: str, source: Path, folder: Path) -> None:
        """Let `path` in an engine's folder be this file. Raises OSError, and EngineError as `link_or_copy_file`."""
        if self.has({path: content}, folder):
            return
        if (folder.parent / LIVES).is_dir():
            self._remember(path, folder)
        link_or_copy_file(source, folder, path)
        with self._guard:
            for gone in [one for one in self._engines if not one.exists()]:
                del self._engines[gone]
            self._engines.setdefault(folder, {})[path] = content

    def _remember(self, path: str, folder: Path) -> None:
        """Write down what is placed in a folder that engines use one after the other: the next one begins without."""
        with self._remembering:
            known = placed_before(folder.parent)
            if path not in known:
                write_atomically(folder.parent / PLACED_MODELS, orjson.dumps([*known, path]))

    def give_up(self, content: str) -> None:
        """Take a content from the engines; call it when no run uses it."""
        with self._guard:
            for folder, placed in self._engines.items():
                for path in [path for path, one in placed.items() if one == content]:
                    take_away(folder, path)
                    del placed[path]
            self._used_at.pop(content, None)

    def give_up_unused(self, seconds: float = UNUSED_SECONDS) -> None:
        """Take from the engines what no run has needed for so long."""
        until = time.monotonic() - seconds
        with self._guard:
            given = {content for placed in self._engines.values() for content in placed.values()}
            for content in given:
                if not self._users[content] and self._used_at.get(content, until) <= until:
                    self.give_up(content)


def link_or_copy_file(source: Path, models: Path, path: str) -> None:
    """Let `path` below `models` be the same bytes, whole or not at all; what is there otherwise is replaced.

    Raises OSError, and EngineError where a link is on the way: an engine of the same user could have put it there.
    """
    models.mkdir(exist_ok=True)  # not what is above it: an engine that has ended takes its folders with it
    *above, last = path.split("/")
    try:
        with contextlib.ExitStack() as held:
            folder = held.enter_context(Folder.at(models.resolve()))
            for part in above:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=folder.descriptor)
                folder = held.enter_context(folder.folder(part))
            _link_or_copy(source, folder, last)
    except OSError as error:
        if error.errno not in NO_FOLDER:
            raise
        raise EngineError(f"The path {path!r} leads over a link in the engine's models folder.") from error


def _link_or_copy(source: Path, folder: Folder, name: str) -> None:
    fresh = f".{uuid.uuid4().hex}.part"
    try:
        try:
            os.link(source, fresh, dst_dir_fd=folder.descriptor)
        except OSError:
            # Another file system, or one without hard links.
            folder.copy_in(source, fresh, None, mode=0o644)
        os.rename(fresh, name, src_dir_fd=folder.descriptor, dst_dir_fd=folder.descriptor)
    finally:
        folder.unlink(fresh)
