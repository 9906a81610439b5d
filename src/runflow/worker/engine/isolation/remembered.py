"""What held a worker's engines at its earlier starts: nobody is to get less without being told.

An update of the kernel or of a container's settings can take a sandbox away. The best that there ever was stands in a
file of the engines' folder, until somebody removes it.
"""

from pathlib import Path

import orjson
import structlog

from runflow.worker.engine.isolation.rungs import Rung, Sandbox
from runflow.worker.runtime.record import write_atomically

log = structlog.get_logger(__name__)

FILE = "sandbox.json"
_WITH_USER = "with a user of its own"


def rank(sandbox: Sandbox) -> int:
    """Return how good a sandbox is: 0 is the best; a user of its own counts where nothing else is the engine's own."""
    return _order().index(_name(sandbox))


def is_lower_than_before(base: Path, sandbox: Sandbox) -> bool:
    """Tell whether this worker's engines were held better at an earlier start, warn of it, and remember the best."""
    path = base / FILE
    try:
        before = _order().index(str(orjson.loads(path.read_bytes())["sandbox"]))
    except (OSError, ValueError, KeyError, TypeError):
        before = len(_order())
    now = rank(sandbox)
    if now <= before:
        if now < before:
            write_atomically(path, orjson.dumps({"sandbox": _name(sandbox)}))
        return False
    log.warning(
        "Engines are held less well than at an earlier start of this worker. "
        f"If that is meant, remove {path}; else see why.",
        before=_order()[before],
        now=_name(sandbox),
        why=sandbox.why_not_better,
    )
    return True


def _name(sandbox: Sandbox) -> str:
    if sandbox.rung is Rung.LANDLOCK and sandbox.users is not None:
        return f"{sandbox.rung.value} {_WITH_USER}"
    return sandbox.rung.value


def _order() -> list[str]:
    names = [rung.value for rung in Rung]
    names.insert(names.index(Rung.LANDLOCK.value), f"{Rung.LANDLOCK.value} {_WITH_USER}")
    return names
