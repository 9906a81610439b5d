"""What was found out about forking a ComfyUI, kept for every worker of this user on this machine.

A proof lies where no engine can write and no other user can plant one: in the cache of the worker's user, by the name
of what it was found out about. Each fork server's first engine is compared with it again.
"""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Self

import orjson

from runflow import __version__
from runflow.worker.engine.folders import home_folder
from runflow.worker.engine.forks.imported import believed_modules, believed_settings
from runflow.worker.engine.isolation.view import Runtime

_MOST_BYTES = 8 * 1024 * 1024
_MOST_KEPT = 32
_MOST_FILES = 200_000
_LOWER_LEVEL_SECONDS = 7 * 86_400.0
_CODE = (".py", ".so", ".pyd")
_NO_CODE = frozenset({"__pycache__", "node_modules"})
_OF_RUNS = frozenset({"custom_nodes", "models", "input", "output", "temp", "user", "venv"})
"""In ComfyUI's own folder: packs are looked at one by one, the rest holds no code."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of one ComfyUI with its packs.

    `level`: of the fork server that was tried. `load_in_child`: packs, at level 0 packages, that leave behind at import
    what no fork survives. `node_types`: the classes of a booted engine that a forked one was seen to have, too; empty
    where that has not been tried. `modules`, `settings`: what level 0 imports, and the environment that it does so in.
    `why_lower`: a sentence where a better level was tried in vain, at `proven_at` (seconds since 1970).
    """

    identity: str
    level: int = -1
    load_in_child: tuple[str, ...] = ()
    node_types: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    why_lower: str | None = None
    proven_at: float = 0.0

    @property
    def is_proven(self) -> bool:
        """Whether forked engines are known to be what booted ones are; a lower level is tried again after a week."""
        return bool(self.node_types) and (
            self.why_lower is None or 0 <= time.time() - self.proven_at < _LOWER_LEVEL_SECONDS
        )

    def proven(self, node_types: Iterable[str]) -> Self:
        """Return it with the proof."""
        return replace(self, node_types=tuple(sorted(node_types)), proven_at=time.time())

    def without(self, packs: Iterable[str]) -> Self:
        """Return it with further packs left to the children."""
        return replace(self, load_in_child=tuple(sorted({*self.load_in_child, *packs})))


class ForkMemory:
    """A file for each identity, in the first of `folders` that is ours alone."""

    def __init__(self, *folders: Path | None) -> None:
        self._folders = [folder for folder in folders if folder is not None]

    def read(self, key: str) -> Remembered | None:
        """Return what is known of this identity, None where that is nothing."""
        try:
            with self._held() as folder:
                content = _own_file(f"{key}.json", folder)
            kept = orjson.loads(content)
            found = Remembered(
                str(kept["identity"]),
                int(kept["level"]),
                tuple(map(str, kept["load_in_child"])),
                tuple(map(str, kept["node_types"])),
                believed_modules(kept["modules"]),
                believed_settings(kept["settings"]),
                kept["why_lower"],
                float(kept["proven_at"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if found.identity == key else None

    def write(self, known: Remembered) -> Remembered:
        """Keep it, and return it. A disk that does not take it costs the next start a boot."""
        with contextlib.suppress(OSError), self._held() as folder:
            name = f"{known.identity}.json"
            temporary = f".{name}.{os.getpid()}"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(orjson.dumps(asdict(known)))
            os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            _prune(folder)
        return known

    def forget(self, key: str) -> None:
        """Forget what turned out not to hold."""
        with contextlib.suppress(OSError), self._held() as folder:
            os.unlink(f"{key}.json", dir_fd=folder)

    @contextlib.contextmanager
    def _held(self) -> Iterator[int]:
        """Hold the folder. Raises OSError where none is ours alone."""
        for place in self._folders:
            try:
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                if _is_ours(os.fstat(descriptor)):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)
        raise OSError("There is no folder for it that is ours alone.")


def cache_folder() -> Path | None:
    """Return where this user's proofs are kept: beside other caches, and not by what `sudo` left in HOME.

    None for a user id without a home, as in a container.
    """
    if os.geteuid() == 0:
        return Path("/var/cache/runflow/forks")
    cache = os.environ.get("XDG_CACHE_HOME", "")
    if cache.startswith("/"):
        return Path(cache) / "runflow" / "forks"
    home = home_folder()
    return None if home is None else home / ".cache" / "runflow" / "forks"


def identity(runtime: Runtime, arguments: Sequence[str]) -> str:
    """Return a name for what a fork server would import: another one where anything of it may have changed.

    The base folder is no part of it, so all of a machine's workers find the same; packs that lie in one are.
    """
    base = str(runtime.base_dir)
    told: list[object] = [__version__, _machine(), str(runtime.comfy_dir), str(runtime.python)]
    told.append([argument.replace(base, "BASE") for argument in arguments])
    told.append(_seen(Path(os.path.realpath(runtime.python))))
    for packages in sorted((runtime.python.parent.parent / "lib").glob("python*/site-packages")):
        told += [
            _seen(place) if place.suffix in {".pth", ".dist-info"} else place.name
            for place in sorted(packages.iterdir())
            if place.name not in _NO_CODE
        ]
    left = [_MOST_FILES]
    told.append(list(_tree(Path(__file__).parent.parent, left)))  # what forks them, where it is worked on
    told.append(list(_tree(runtime.comfy_dir, left, skip=_OF_RUNS)))
    nodes = runtime.base_dir / "custom_nodes"
    for pack in sorted(nodes.iterdir()) if nodes.is_dir() else ():
        # One that lies here is another one in another base folder, for its files were made at another time.
        told.append([pack.name, str(pack.resolve()) if pack.is_symlink() else None])
        told.append(list(_tree(pack.resolve(), left)) if pack.is_dir() else [_seen(pack)])
    return hashlib.sha256(orjson.dumps(told)).hexdigest()


def _tree(root: Path, left: list[int], skip: frozenset[str] = frozenset()) -> Iterator[object]:
    """Yield what tells of a change of the code below a folder; `left` counts down how much is looked at."""
    for name in ("HEAD", "logs/HEAD"):
        yield _seen(root / ".git" / name)[1:]
    for place, folders, files in os.walk(root):
        hidden = skip if place == str(root) else frozenset[str]()
        folders[:] = sorted(
            name for name in folders if name not in _NO_CODE and name not in hidden and not name.startswith(".")
        )
        here = place[len(str(root)) :]
        for name in sorted(files):
            if name.endswith(_CODE):
                left[0] -= 1
                if left[0] < 0:
                    return
                yield [f"{here}/{name}", *_seen(Path(place) / name)[1:]]


def _seen(place: Path) -> list[object]:
    try:
        seen = place.stat()
    except OSError:
        return [place.name]
    return [place.name, seen.st_mtime_ns, seen.st_size]


def _machine() -> list[str]:
    """The kernel and the machine, which may share this folder with others."""
    system = os.uname()
    number = ""
    with contextlib.suppress(OSError):
        number = Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
    return [system.machine, system.release, number]


def _is_ours(seen: os.stat_result) -> bool:
    return seen.st_uid == os.geteuid() and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _own_file(name: str, folder: int) -> bytes:
    """Return the content of a file that only we can have written. Raises OSError."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or not _is_ours(seen) or seen.st_size > _MOST_BYTES:
            raise OSError(f"{name} is not a file of ours.")
        return file.read(_MOST_BYTES)


def _prune(folder: int) -> None:
    """Keep those that were found out last."""
    made = [(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime, name) for name in os.listdir(folder)]
    for _, name in sorted(made, reverse=True)[_MOST_KEPT:]:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
