"""Examine a ComfyUI: what is there, what is missing, what it can do."""

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from runflow.worker.engine.attached import AttachedEngine
from runflow.worker.engine.base import (
    Ability,
    EngineDescription,
    EngineError,
    EngineKind,
    EngineUnreachable,
    OnBoot,
    SandboxFacts,
)
from runflow.worker.engine.boot import OwnedSettings, default_pythons
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.pool.engine_choice import sandbox_user, user_without_sandbox
from runflow.worker.runtime.record import InstallRecord, read_record, unfinished
from runflow.worker.runtime.source import missing_parts, tree_version
from runflow.worker.settings import ENGINE_USER_AUTO

_LACKS: dict[Ability, str] = {
    Ability.LOCAL_FILES: "Files travel through its upload and view routes, which is slower than moving them.",
    Ability.OWN_FOLDERS: "Its input and output folders are shared; uploaded inputs and outputs stay there after a run.",
    Ability.CACHE_OFF: "It caches results; start it with --cache-none to have identical prompts executed again.",
    Ability.EXACT_INTERRUPT: "Cancelling may stop another prompt; ComfyUI 0.3.57 or newer stops exactly one.",
    Ability.KILL: "A prompt that does not listen to interrupts cannot be stopped.",
    Ability.MEMORY_LIMIT: "A prompt may eat the machine's memory.",
    Ability.NO_METADATA: "Stock nodes write the workflow into saved files; start it with --disable-metadata.",
}


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found. `problems` make it unusable, each with its next step; `lacking` says what a lack leads to."""

    usable: bool
    kind: EngineKind
    where: str
    version: str | None
    python: str | None
    torch: str | None
    device: str | None
    memory_bytes: int | None
    node_count: int | None
    plugin: bool | None
    abilities: tuple[str, ...]
    lacking: dict[str, str]
    isolation: tuple[str, ...]
    sandbox: SandboxFacts | None
    installed: InstallRecord | None
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return asdict(self)


async def check_folder(
    comfy_dir: Path, on_boot: OnBoot | None = None, *, boot: bool = True, engine_user: str = ENGINE_USER_AUTO
) -> CheckReport:
    """Examine a ComfyUI folder. With `boot` an engine is started from it in a temporary base folder, and stopped.

    `engine_user`: the worker's setting, so that the engine is held as the worker's would be.
    """
    comfy_dir, problems = await asyncio.to_thread(_look_at, comfy_dir)
    description: EngineDescription | None = None
    if boot and not problems:
        with tempfile.TemporaryDirectory(prefix="runflow-check-") as base:
            await asyncio.to_thread(Path(base).chmod, 0o711)  # a user of the engine's own must come through
            home = EngineHome(
                OwnedSettings(
                    comfy_dir,
                    Path(base) / "engine",
                    enclosed=True,
                    sandbox_user=sandbox_user(engine_user),
                    uid_without=lambda: user_without_sandbox(engine_user, comfy_dir, Path(base) / "engine")[0],
                )
            )
            engine = OwnedEngine(home.settings, home)
            try:
                description = await engine.start(on_boot)
                await home.settled()
                description = replace(description, sandbox=home.facts)
            except EngineError as error:
                problems.append(str(error))
                if tail := await asyncio.to_thread(_tail, engine.log_path):
                    problems.append(f"The end of its log:\n{tail}")
            finally:
                await engine.stop()
                await home.close()
    return _report(EngineKind.OWNED, str(comfy_dir), description, problems, comfy_dir)


async def check_url(url: str, headers: Mapping[str, str] | None = None) -> CheckReport:
    """Examine a ComfyUI that runs somewhere."""
    problems: list[str] = []
    description: EngineDescription | None = None
    try:
        engine = AttachedEngine(url, headers=headers)
        description = await engine.start()
        await engine.stop()
    except EngineUnreachable as error:
        problems.append(f"{error} Start that ComfyUI, or correct the address.")
    except EngineError as error:
        problems.append(str(error))
    return _report(EngineKind.ATTACHED, url, description, problems, None)


def _look_at(comfy_dir: Path) -> tuple[Path, list[str]]:
    comfy_dir = comfy_dir.expanduser().absolute()
    return comfy_dir, _folder_problems(comfy_dir)


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-1500:]
    except OSError:
        return ""


def _folder_problems(comfy_dir: Path) -> list[str]:
    again = f"Run `runflow comfyui install {comfy_dir}`."
    if not comfy_dir.is_dir():
        return [f"There is no folder {comfy_dir}. {again}"]
    if unfinished(comfy_dir):
        return [f"The installation in {comfy_dir} is not finished. {again} It goes on where it stopped."]
    if missing := missing_parts(comfy_dir):
        return [f"{comfy_dir} is not a ComfyUI: it lacks {', '.join(missing)}. {again}"]
    if not any(python.exists() for python in default_pythons(comfy_dir)):
        return [f"{comfy_dir} has no Python environment of its own (.venv or venv). Make one, or install another copy."]
    return []


def _report(
    kind: EngineKind, where: str, found: EngineDescription | None, problems: list[str], comfy_dir: Path | None
) -> CheckReport:
    record = read_record(comfy_dir) if comfy_dir else None
    version = found.version if found else (tree_version(comfy_dir) if comfy_dir else None)
    lacking = {ability.value: text for ability, text in _LACKS.items() if found and ability not in found.abilities}
    return CheckReport(
        usable=not problems,
        kind=kind,
        where=where,
        version=version,
        python=found.python if found else (record.python if record else None),
        torch=found.torch if found else (record.torch if record else None),
        device=found.device_name if found else None,
        memory_bytes=found.memory_bytes if found else None,
        node_count=len(found.node_types) if found else None,
        plugin=found.plugin if found else None,
        abilities=tuple(sorted(ability.value for ability in found.abilities)) if found else (),
        lacking=lacking,
        isolation=found.isolation if found else (),
        sandbox=found.sandbox if found else None,
        installed=record,
        problems=tuple(problems),
    )
