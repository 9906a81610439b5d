"""What was found out about forking a ComfyUI, kept from one start of the worker to the next."""

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import orjson

from runflow import __version__
from runflow.worker.engine.isolation.view import Runtime
from runflow.worker.runtime.record import write_atomically


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of one ComfyUI with its packs.

    `load_in_child`: packs that leave behind at import what no fork survives. `node_types`: the classes of a booted
    engine that a forked one was seen to have, too; empty where that has not been tried.
    """

    identity: str
    load_in_child: tuple[str, ...] = ()
    node_types: tuple[str, ...] = ()

    @property
    def is_proven(self) -> bool:
        """Whether forked engines are known to be what booted ones are."""
        return bool(self.node_types)

    def proven(self, node_types: Sequence[str]) -> Self:
        """Return it with the proof."""
        return replace(self, node_types=tuple(node_types))

    def without(self, packs: Iterable[str]) -> Self:
        """Return it with further packs left to the children."""
        return replace(self, load_in_child=tuple(sorted({*self.load_in_child, *packs})))


class ForkMemory:
    """One file, replaced as a whole: what is known of the ComfyUI that was used last."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, key: str) -> Remembered | None:
        """Return what is known of this identity, None where that is nothing."""
        try:
            kept = orjson.loads(self._path.read_bytes())
            found = Remembered(str(kept["identity"]), tuple(kept["load_in_child"]), tuple(kept["node_types"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if found.identity == key else None

    def write(self, known: Remembered) -> Remembered:
        """Keep it, and return it. A disk that does not take it costs the next start a boot."""
        with contextlib.suppress(OSError):
            write_atomically(self._path, orjson.dumps(asdict(known)))
        return known


def identity(runtime: Runtime, arguments: Sequence[str]) -> str:
    """Return a name for what a fork server would import: another one where anything of it may have changed."""
    told: list[object] = [__version__, str(runtime.comfy_dir), str(runtime.python), list(arguments)]
    nodes = runtime.base_dir / "custom_nodes"
    places = [runtime.comfy_dir / "main.py", runtime.comfy_dir / "nodes.py", runtime.comfy_dir / "server.py"]
    places += sorted((runtime.python.parent.parent / "lib").glob("python*/site-packages"))
    for pack in sorted(nodes.iterdir()) if nodes.is_dir() else ():
        places += [pack, pack / "__init__.py", pack / "prestartup_script.py", pack / ".git" / "HEAD"]
    for place in places:
        try:
            seen = place.stat()
            told.append((str(place), seen.st_mtime_ns, seen.st_size if place.suffix else 0))
        except OSError:
            told.append(str(place))
    return hashlib.sha256(orjson.dumps(told)).hexdigest()
