"""Which sandbox this machine offers: tried out with the engine's own Python before anybody relies on it."""

import asyncio
import contextlib
import os
import signal
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import orjson
import structlog

from runflow.worker.engine.isolation.view import Runtime, mounts
from runflow.worker.engine.run_files import RunFiles

log = structlog.get_logger(__name__)

FIRST_UID = 64_738
"""The first of the user ids, without a name or a login, that engines run as where the worker is root."""
USERS_PER_WORKER = 16
_WORKERS = 32
_PROBE_SECONDS = 60.0
_GPU_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri/renderD128")
PROCESSES_AT_MOST = 2048
"""Processes and threads of one user's engines: torch takes a few dozen, a fork bomb as many as there are."""
_PROBE_FILE_BYTES = 1 << 20


class Rung(StrEnum):
    """What holds an engine, best first."""

    NAMESPACES = "namespaces"
    """Its own view of the machine: files, processes, network, user."""
    USER = "user"
    """A user of its own; what others of the machine may read it can read, too."""
    NONE = "none"


SEPARATES_FILES = frozenset({Rung.NAMESPACES})


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a worker puts its engines into.

    `users`: the first of `count` user ids of this worker's engines, None where they keep the worker's. `layered`:
    whether an engine may write to the ComfyUI's folder without changing it. `network`: whether it has the machine's.
    `why_not_better`: a sentence, None at the best.
    """

    rung: Rung
    privileged: bool = False
    users: int | None = None
    count: int = USERS_PER_WORKER
    layered: bool = False
    gpu: bool = False
    network: bool = True
    why_not_better: str | None = None

    @property
    def separates_files(self) -> bool:
        """Whether an engine can reach no file but its own."""
        return self.rung in SEPARATES_FILES

    def next_number(self, after: int) -> int | None:
        """Return the number of the next engine: one whose user has no process, None where each has one.

        What an earlier engine of that user left would have every right in the next one's folders.
        """
        if self.users is None or self.count == 1:
            return after + 1
        taken = _users_with_processes()
        candidates = range(after + 1, after + self.count)
        return next((number for number in candidates if self.uid(number) not in taken), None)

    @property
    def in_users(self) -> bool:
        """Whether its engines live in a user namespace of their own beside what root has mounted for them."""
        return self.privileged and self.users is not None and not self.gpu

    def uid(self, number: int) -> int | None:
        """Return the machine's user id of the engine with this number, which counts lives."""
        if self.users is None or self.count == 1:
            return self.users
        return self.users + 1 + number % (self.count - 1)

    def uid_inside(self, number: int) -> int | None:
        """Return the same user's id as the engine sees it."""
        uid = self.uid(number)
        if uid is None or self.users is None or not self.in_users:
            return uid
        return uid - self.users


def _users_with_processes() -> set[int]:
    """The user ids of all processes, also of those that hide their owner from /proc's own."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                _, _, rest = (entry / "status").read_text(encoding="utf-8", errors="replace").partition("\nUid:")
                found.update(int(uid) for uid in rest.split("\n", 1)[0].split())
    return found


def first_uid(home: Path) -> int:
    """Return the first user id of the worker with this folder: as a rule, workers of one machine share none."""
    return FIRST_UID + zlib.crc32(os.fsencode(home.absolute())) % _WORKERS * USERS_PER_WORKER


def has_gpu() -> bool:
    """Tell whether this machine shows a graphics card."""
    return any(Path(device).exists() for device in _GPU_DEVICES)


def gpu_of_a_group() -> bool:
    """Tell whether the graphics card's devices belong to a group, which a user of its own would not be in."""
    return Path("/dev/kfd").exists()


def plan(
    sandbox: Sandbox,
    found: Sequence[dict[str, Any]],
    command: Sequence[str],
    *,
    folder: Path,
    environment: dict[str, str],
    number: int,
    file_bytes: int,
    forks: bool = False,
) -> dict[str, Any]:
    """Return what `enter.py` is to do, but for the worker's own descriptors.

    `number`: of the engine's user; `file_bytes`: of the largest file that it can write.
    """
    uid = sandbox.uid_inside(number)
    return {
        "privileged": sandbox.privileged,
        "network": sandbox.network,
        "users": [sandbox.users, sandbox.count] if sandbox.in_users else None,
        "uid": uid if uid is not None else 0,
        "forks": forks,
        "mounts": list(found),
        "folder": str(folder),
        "command": list(command),
        "environment": environment,
        "limits": {"processes_at_most": PROCESSES_AT_MOST, "file_bytes": file_bytes},
    }


async def probe(runtime: Runtime, *, network: bool, user: int | Literal["own", "same"] = "own") -> Sandbox:
    """Return the best sandbox that works here for this ComfyUI; what was tried and failed is in `why_not_better`.

    `user`: as root, which user id engines have: one of their own, the worker's, or this one.
    """
    root = os.geteuid() == 0
    gpu = has_gpu()
    best = Sandbox(Rung.NAMESPACES, privileged=root, layered=True, gpu=gpu, network=network)
    if root and isinstance(user, int):
        best = replace(best, users=user, count=1)
    elif root and user == "own" and not gpu_of_a_group():
        best = replace(best, users=first_uid(runtime.base_dir))
    reasons = []
    for candidate in (best, replace(best, layered=False)) if hasattr(os, "pidfd_open") else ():
        reason = await _try(candidate, runtime)
        if reason is None:
            return replace(candidate, why_not_better=_ROOTS_NUMBER) if root and candidate.users is None else candidate
        reasons.append(reason)
        log.info("A sandbox does not work here.", rung=candidate.rung.value, layered=candidate.layered, reason=reason)
    why = reasons[-1] if reasons else "only Linux (5.12 or later) has what it takes"
    return Sandbox(Rung.NONE, network=True, gpu=gpu, why_not_better=f"Namespaces cannot be used: {why}")


_ROOTS_NUMBER = "Engines have root's user id, without its rights: RUNFLOW_ENGINE_USER or the GPU's devices ask for it."
_SEES = """
import os, sys
with open("main.py"): pass
assert len([name for name in os.listdir("/proc") if name.isdigit()]) <= 3, "it sees other processes"
with open(os.path.join(sys.argv[1], "output", "probe"), "w"): pass
"""
_COMPUTES_ON_GPU = """
import torch
if torch.cuda.is_available(): torch.ones(8, device="cuda").sum().item()
"""


async def _try(sandbox: Sandbox, runtime: Runtime) -> str | None:
    """Run a program inside; return what went wrong, or None."""
    with tempfile.TemporaryDirectory(prefix="runflow-probe-") as made:
        life = Path(made) / "life"
        make_life(life, sandbox.uid(0))
        found = mounts(
            runtime,
            lives=Path(made),
            life=life,
            network=sandbox.network,
            gpu=sandbox.gpu,
            layered=sandbox.layered,
            owner=sandbox.uid(0),
        )
        code = _SEES + (_COMPUTES_ON_GPU if sandbox.gpu else "")
        command = [str(runtime.python), "-I", "-c", code, str(runtime.base_dir)]
        given = plan(
            sandbox,
            found,
            command,
            folder=runtime.comfy_dir,
            environment={"PATH": os.environ.get("PATH", "")},
            number=0,
            file_bytes=_PROBE_FILE_BYTES,
        )
        return await _run(runtime.python, given)


def make_life(root: Path, uid: int | None) -> RunFiles:
    """Make the folders of one engine's life, which it alone can read and write; `models` it can only read.

    Whoever mounts them must get to them, so the way is open; what is in each is not.
    """
    files = RunFiles(root, uid=uid)
    files.make()
    root.chmod(0o711)
    models = root / "models"
    models.mkdir(mode=0o750)
    if uid is not None:
        os.chown(models, -1, uid)
    return files


def enter_command(python: Path, handed: int) -> list[str]:
    """Return the command that reads a plan from a descriptor and does it."""
    script = str(files("runflow.worker.engine.isolation").joinpath("enter.py"))
    return [str(python), "-I", "-S", script, str(handed)]


def hand_over(given: dict[str, Any]) -> int:
    """Return a descriptor from which a plan can be read, for a process that inherits it."""
    descriptor = os.memfd_create("runflow-plan")
    os.write(descriptor, orjson.dumps(given))
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return descriptor


async def _run(python: Path, given: dict[str, Any]) -> str | None:
    guard, held = os.pipe()
    os.set_inheritable(guard, True)
    handed = hand_over({**given, "keep": [], "worker": os.getpid(), "guard": guard})
    try:
        process = await asyncio.create_subprocess_exec(
            *enter_command(python, handed),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(guard, handed),
        )
    except OSError as error:
        return f"{python} cannot be started: {error.strerror}"
    finally:
        os.close(guard)
        os.close(handed)
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        return f"a program in it did not end within {_PROBE_SECONDS:.0f} seconds"
    finally:
        os.close(held)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0:
        return None
    lines = said.decode(errors="replace").strip().splitlines() or ["it ended without a word"]
    return lines[-1].removeprefix("SANDBOX: ")
