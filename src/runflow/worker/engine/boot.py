"""From a ComfyUI folder to an engine that answers."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import structlog

from runflow.worker.engine.base import (
    EngineError,
    EngineStartFailed,
    OnBoot,
)
from runflow.worker.engine.diagnosis import diagnose
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.runtime.record import unfinished


@dataclass(frozen=True, slots=True)
class OwnedSettings:
    """How an owned engine is started.

    `python` is the interpreter of ComfyUI's environment; None: the `.venv` or `venv` in its folder. `base_dir` is ours
    alone. `plugin_dir` None: the plugin of this installation; `cpu` None: what the machine has. `memory_limit_bytes`
    None: nine tenths of the machine. `uid`: as root, run the engine as this user id. `enclosed`: put it into the best
    sandbox of the machine, and reach it over a Unix socket; there `network` leaves it the machine's (None: as
    `EngineHome.use_network` says), `sandbox_user` is as in `isolation.rungs.probe`, and `uid_without` is asked where no
    sandbox works. `more_folders` tells, whenever one is started, what it may read there beside its own.
    `disk_limit_bytes`: what one may write, None: half of what is free. Times in seconds.

    `fork_levels`: those that are tried, best first, None: what is known to be safe (for tests and `scripts/bench gpu`).
    `proofs`: where what is found out about forks is kept, None: this user's cache.
    """

    comfy_dir: Path
    base_dir: Path
    python: Path | None = None
    plugin_dir: Path | None = None
    with_plugin: bool = True
    cpu: bool | None = None
    cache: bool = False
    metadata: bool = False
    api_nodes: bool = False
    extra_arguments: tuple[str, ...] = ()
    extra_environment: Mapping[str, str] = field(default_factory=dict)
    memory_limit_bytes: int | None = None
    uid: int | None = None
    enclosed: bool = False
    network: bool | None = True
    sandbox_user: int | Literal["own", "same"] = "own"
    uid_without: Callable[[], int | None] = lambda: None
    disk_limit_bytes: int | None = None
    more_folders: Callable[[], tuple[Path, ...]] = lambda: ()
    is_strangers: bool = False
    """It was built of what a version names, not installed by the operator: see `isolation.view.Runtime`."""
    more_models: Callable[[], list[tuple[str, Path]]] = list
    """Tells kind and folder of models that it uses beside those of its ComfyUI."""
    boot_seconds: float = 600.0
    patience: float = 1.0
    fork_levels: tuple[int, ...] | None = None
    proofs: Path | None = None


log = structlog.get_logger(__name__)

SECRET_VARIABLE = "RUNFLOW_ENGINE_SECRET"  # noqa: S105 (a name)
"""Hands the engine's plugin the secret of its worker; the plugin takes it out of the environment when it loads."""

_PROBE_SECONDS = 0.05


def secret_headers(secret: str) -> dict[str, str]:
    """Return the headers by which an engine's plugin knows its worker (plugin/process_secret.py)."""
    return {"X-Runflow-Internal": secret}


def find_python(settings: OwnedSettings) -> Path:
    """Return the interpreter of the ComfyUI's environment. Raises EngineStartFailed when something is missing."""
    comfy_dir = settings.comfy_dir
    if not (comfy_dir / "main.py").is_file():
        raise EngineStartFailed(f"There is no ComfyUI in {comfy_dir}. Run `runflow comfyui install {comfy_dir}`.")
    if unfinished(comfy_dir):
        raise EngineStartFailed(
            f"The installation in {comfy_dir} is not finished. Run `runflow comfyui install {comfy_dir}`; it goes on "
            "where it stopped."
        )
    candidates = [settings.python] if settings.python else default_pythons(comfy_dir)
    found = next((python for python in candidates if python.exists()), None)
    if found is None:
        looked = ", ".join(str(python) for python in candidates)
        raise EngineStartFailed(
            f"{comfy_dir} has no Python environment (looked for {looked}). Run `runflow comfyui install`, or name its "
            "interpreter."
        )
    if settings.uid is not None and not can_run_as(settings.uid, found, comfy_dir):
        raise EngineStartFailed(
            f"The user id {settings.uid} cannot run {found} in {comfy_dir}. Only root can switch users, and that "
            "user must be able to read both."
        )
    return found


def plugin_folder(settings: OwnedSettings) -> Path | None:
    """Return where the plugin that it gets is installed from, None for an engine without."""
    if not settings.with_plugin:
        return None
    if settings.plugin_dir is not None:
        return settings.plugin_dir
    from runflow.plugin_install import plugin_source

    return plugin_source()


def default_pythons(comfy_dir: Path) -> list[Path]:
    """Return where a ComfyUI folder's own interpreter may be."""
    return [comfy_dir / name / "bin" / "python" for name in (".venv", "venv")]


def can_run_as(uid: int, python: Path, comfy_dir: Path) -> bool:
    """Return whether that user could run this ComfyUI: root may switch, and the files are open to it."""
    if os.geteuid() != 0:
        return False
    code = "import sys; open(sys.argv[1]).close()"
    try:
        tried = subprocess.run(
            [str(python), "-I", "-S", "-c", code, "main.py"],
            cwd=comfy_dir,
            user=uid,
            group=uid,
            extra_groups=[],
            env={"PATH": os.environ.get("PATH", "")},
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return tried.returncode == 0


class Started(Protocol):
    """A process that is to become an engine: booted or forked."""

    @property
    def running(self) -> bool:
        """Whether it has not ended."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""

    def log_tail(self) -> str:
        """Return the end of what it printed."""


async def until_ready(
    process: Started, client: ComfyClient, seconds: float, log_path: Path, on_boot: OnBoot | None
) -> None:
    """Wait until the engine answers. Raises EngineStartFailed when it ends before, or takes longer than `seconds`."""
    began = time.monotonic()
    shown = ""
    while (elapsed := time.monotonic() - began) < seconds:
        if not process.running:
            why = diagnose(process.returncode, process.log_tail())
            log.error("the engine did not start", log_tail=process.log_tail()[-4000:])
            raise EngineStartFailed(f"{why.text} Its log: {log_path}")
        with contextlib.suppress(EngineError):
            await client.system_stats(timeout=5.0)
            return
        last = (process.log_tail().rstrip().splitlines() or [""])[-1]
        if on_boot is not None and last != shown:
            shown = last
            on_boot(elapsed, last)
        await asyncio.sleep(_PROBE_SECONDS)
    raise EngineStartFailed(f"The engine did not answer within {seconds:.0f} seconds. Its log: {log_path}")
