"""Whether a runtime that was built works: it starts without a network, and has every node class of the prompt."""

import os
import re
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from runflow.worker.engine.base import EngineError
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.runtime.build.manifest import RuntimeAsk
from runflow.worker.runtime.build.steps import BuildReport
from runflow.worker.runtime.commands import InstallError, in_thread
from runflow.worker.runtime.confined.confinement import BuildsNotConfined
from runflow.worker.runtime.environment import Environment

_FAILED = re.compile(r"Cannot import .*[/\\](?P<pack>[^/\\\s]+) module for custom nodes: (?P<why>.+)")
_MOST_LOG = 4 * 1024 * 1024
_MOST_NAMED = 10
_MOST_WHY = 400
_CANNOT = "Cannot import "
_LONGEST_LINE = 2_000
"""Packs write into that log, too: nothing is looked for in longer lines."""


class ClassesMissing(InstallError):
    """A runtime lacks node classes of the prompt. `packs`: who should have brought them."""

    def __init__(self, message: str, packs: tuple[str, ...]) -> None:
        """Keep whom to blame."""
        self.packs = packs
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a runtime was seen to have: its node classes, and by name why packs of it were not imported."""

    node_types: list[str]
    not_imported: dict[str, str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A runtime that is to be looked at: its ComfyUI with its packs, the same without packs, and its environment."""

    comfyui: Path
    tree: Path
    environment: Environment


async def boot_runtime(candidate: Candidate, ask: RuntimeAsk, report: BuildReport) -> Checked:
    """Boot an engine of this ComfyUI in the best sandbox, without a network, and return what it has.

    Raises `ClassesMissing`, and InstallError where it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="runflow-check-") as base:
        os.chmod(base, 0o711)  # noqa: PTH101, S103 (an engine of another user goes through)
        settings = OwnedSettings(
            candidate.comfyui,
            Path(base) / "engine",
            python=candidate.environment.python,
            enclosed=True,
            network=False,
            fork_levels=(),
            is_strangers=True,
            more_folders=lambda: (candidate.environment.root,),
        )
        home = EngineHome(settings)
        engine = OwnedEngine(settings, home)
        try:
            await home.open()
            if not home.sandbox.separates_files:
                raise BuildsNotConfined(
                    "Nothing on this machine keeps what is built to itself, so its code is not run. "
                    f"{home.sandbox.why_not_better or ''} Or set RUNFLOW_RUNTIME_BUILDS=off here."
                )
            description = await engine.start(None)
        except EngineError as error:
            raise InstallError(f"ComfyUI does not start. {error}\n{_tail(engine.log_path)}") from error
        finally:
            await engine.stop()
            failed = await in_thread(lambda: failed_imports(engine.log_path))
            await home.close()
    for pack, why in failed.items():
        report.note(f"The node pack {pack} was not imported: {why}")
    refuse_missing(description.node_types, ask, failed)
    return Checked(sorted(description.node_types), failed)


def refuse_missing(node_types: Collection[str], ask: RuntimeAsk, failed: Mapping[str, str]) -> None:
    """Raise `ClassesMissing` unless every class of the prompt is there. `failed`: why packs were not imported."""
    has = frozenset(node_types)
    missing = [name for name in ask.node_types if name not in has]
    if not missing:
        return
    packs = tuple(pack.name for pack in ask.packs if {*pack.classes} & {*missing}) or tuple(failed)
    whys = "; ".join(f"{pack}: {failed[pack]}" for pack in packs if pack in failed)
    shown = ", ".join(missing[:_MOST_NAMED]) + (" …" if len(missing) > _MOST_NAMED else "")
    raise ClassesMissing(
        f"It starts, and lacks the node classes {shown}"
        + (f" of {', '.join(packs)}" if packs else "")
        + (f" ({whys})" if whys else "")
        + ". A module that is missing there is one that the pack does not declare: ask its author, or take a "
        "commit that fits this ComfyUI.",
        packs,
    )


def failed_imports(log: Path) -> dict[str, str]:
    """Return the packs that could not be imported, with the reason, as the log of an engine tells them."""
    lines = (line for line in _tail(log, _MOST_LOG).splitlines() if len(line) <= _LONGEST_LINE)
    found = (_FAILED.search(line) for line in lines if _CANNOT in line)
    return {one["pack"]: one["why"].strip()[:_MOST_WHY] for one in found if one is not None}


def _tail(path: Path, most: int = 4000) -> str:
    try:
        return path.read_text(errors="replace")[-most:]
    except OSError:
        return ""
