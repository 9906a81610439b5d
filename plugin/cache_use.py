"""What nodes take from the caches of Hugging Face and torch hub: noted while they run, for Deploy to tell.

Nothing in a workflow says it, so the process is watched opening files (Python's audit events). That costs a quarter of
a microsecond for each event, of which a prompt has some hundreds, and changes nothing. A fault in here is swallowed: it
would be the fault of whoever opens a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from . import comfyui_queue
from .manifest.cached_models import CacheFolders, Use, cache_folders, use_of

_MOST_USES = 4_096
_MOST_CLASSES = 256
_MOST_ADDRESSES = 512
_LONGEST = 2_000


class CacheUse:
    """Parts of the caches that this process has opened, by the classes of the nodes that did. Any thread may use it."""

    def __init__(
        self,
        folders: CacheFolders,
        executing: Callable[[], Collection[str]] = tuple,
        succeeded: Callable[[], Iterable[Mapping[str, Any]]] = tuple,
    ) -> None:
        """Watch these folders. `executing` returns the classes of nodes that may execute now, `succeeded` prompts."""
        self.folders = folders
        self.succeeded = succeeded
        """Returns the prompts that have ended well in this process, the newest first."""
        self._executing = executing
        self._below = [
            (cache, prefix)
            for cache, folder in (("huggingface", folders.hub), ("torch", folders.torch))
            for prefix in _prefixes(folder)
        ]
        self._prefixes = tuple(prefix for _, prefix in self._below)
        self._classes: dict[Use, set[str]] = {}
        self._addresses: dict[str, str] = {}

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Take an audit event of Python's. Raises nothing."""
        try:
            if event == "open":
                self._opened(args[0])
            elif event == "urllib.Request":
                self._requested(args[0])
        except Exception:  # noqa: S110 (whoever opens the file would have it)
            pass

    def _opened(self, path: Any) -> None:
        if not isinstance(path, str):
            if isinstance(path, int) or path is None:
                return
            path = os.fsdecode(path)
        if not path.startswith(self._prefixes):
            return
        use = use_of(path, self._below)
        if use is None:
            return
        classes = self._classes.get(use)
        if classes is None:
            if len(self._classes) >= _MOST_USES:
                return
            classes = self._classes.setdefault(use, set())
        if len(classes) < _MOST_CLASSES:
            classes.update(self._executing())

    def _requested(self, url: Any) -> None:
        """Note where a file comes from that torch hub fetches: it tells nobody later."""
        if not isinstance(url, str) or len(url) > _LONGEST or not url.startswith(("http://", "https://")):
            return
        name = url.rpartition("/")[2]
        # What has a query or a password may hold a secret.
        if "." in name and not {"?", "#", "@"} & set(url):
            self._addresses.pop(name, None)
            self._addresses[name] = url
            if len(self._addresses) > _MOST_ADDRESSES:
                del self._addresses[next(iter(self._addresses))]

    def of(self, classes: Collection[str]) -> set[Use]:
        """The parts that nodes of these classes have opened since the process began."""
        wanted = set(classes)
        return {use for use, by in list(self._classes.items()) if by & wanted}

    @property
    def addresses(self) -> dict[str, str]:
        """Where files were fetched by Python's own means, by their names."""
        return dict(self._addresses)


def _prefixes(folder: Path) -> list[str]:
    """How paths below a folder begin: as it is called, made absolute, and with links resolved."""
    named = (str(folder), os.path.abspath(folder), os.path.realpath(folder))  # noqa: PTH100
    return list(dict.fromkeys(one.rstrip("/\\") + os.sep for one in named))


_watched: CacheUse | None = None


def watched() -> CacheUse:
    """What is known of this process; nothing, where nobody has begun to watch it."""
    return _watched or CacheUse(cache_folders())


def watch() -> None:
    """Begin, once in a process: an audit hook stays for its life."""
    global _watched
    if _watched is None:
        _watched = CacheUse(cache_folders(), comfyui_queue.executing_classes, comfyui_queue.succeeded_prompts)
        sys.addaudithook(_hook(_watched.hear))


def _hook(hear: Callable[[str, tuple[Any, ...]], None]) -> Callable[[str, tuple[Any, ...]], None]:
    """A plain function that looks at the event's name: Python takes three times as long to call a method as a hook."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" or event == "urllib.Request":
            hear(event, args)

    return hook
