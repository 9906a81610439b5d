"""What can hold an engine, best first, and what each is told to do (`probe.py` tries which one works here)."""

import contextlib
import os
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from runflow.worker.engine.boundary import Folder
from runflow.worker.engine.folders import EXTRA_MODEL_PATHS
from runflow.worker.engine.isolation.rules import CUSTOM_NODES, link_nodes, rules
from runflow.worker.engine.isolation.view import Runtime, mounts
from runflow.worker.engine.run_files import RunFiles

FIRST_UID = 64_738
"""The first of the user ids, without a name or a login, that engines run as where the worker is root."""
USERS_PER_WORKER = 16
FIRST_BUILD_UID = 65_264
"""The first of the user ids that builds of other people's code run as, above all those of engines (`confine.py`)."""
_WORKERS = 32
_GPU_DEVICES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri/renderD128")
PROCESSES_AT_MOST = 2048
"""Processes and threads of one user's engines: torch takes a few dozen, a fork bomb as many as there are."""


class Rung(StrEnum):
    """What holds an engine, best first."""

    NAMESPACES = "namespaces"
    """Its own view of the machine: files, processes, network, user."""
    BUBBLEWRAP = "bubblewrap"
    """The same view, built by another program, which may do that where we may not."""
    LANDLOCK = "landlock"
    """The machine's own view, of which the kernel opens to it only what it needs; no sockets but its own."""
    USER = "user"
    """A user of its own; what others of the machine may read it can read, too."""
    NONE = "none"


SEPARATES_FILES = frozenset({Rung.NAMESPACES, Rung.BUBBLEWRAP, Rung.LANDLOCK})
KEEPER = "confine.py"
"""The script that ends what an engine has started one by one, for no end of a namespace does."""
_SCRIPTS = {Rung.NAMESPACES: "enter.py", Rung.BUBBLEWRAP: "bubblewrap.py", Rung.LANDLOCK: KEEPER}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What a worker puts its engines into.

    `users`: the first of `count` user ids of this worker's engines, None where they keep the worker's. `layered`:
    whether an engine may write to the ComfyUI's folder without changing it. `network`: whether it has the machine's.
    `mapped`: as root, in a user namespace although there is a graphics card, in which not every driver works there.
    `signals_others`: whether it may end processes of its user that are none of its own. `why_not_better`: a sentence,
    None at the best.
    """

    rung: Rung
    privileged: bool = False
    users: int | None = None
    count: int = USERS_PER_WORKER
    layered: bool = False
    gpu: bool = False
    mapped: bool = False
    network: bool = True
    signals_others: bool = False
    why_not_better: str | None = None

    @property
    def separates_files(self) -> bool:
        """Whether an engine can reach no file but its own, and nobody who could reach others for it."""
        return self.rung in SEPARATES_FILES and not self.signals_others

    @property
    def has_lives(self) -> bool:
        """Whether each engine has folders of its own, and a network only if it is given one."""
        return self.rung in SEPARATES_FILES

    @property
    def has_view(self) -> bool:
        """Whether an engine finds its folders at the same path as every other one."""
        return self.rung in (Rung.NAMESPACES, Rung.BUBBLEWRAP)

    def next_number(self, after: int) -> int | None:
        """Return the number of the next engine: one whose user has no process, None where each has one.

        What an earlier engine of that user left would have every right in the next one's folders.
        """
        if self.users is None or self.count == 1:
            return after + 1
        taken = users_with_processes()
        candidates = range(after + 1, after + self.count)
        return next((number for number in candidates if self.uid(number) not in taken), None)

    @property
    def in_users(self) -> bool:
        """Whether its engines live in a user namespace of their own beside what root has mounted for them."""
        return self.has_view and self.privileged and self.users is not None and (self.mapped or not self.gpu)

    def uid(self, number: int) -> int | None:
        """Return the machine's user id of the engine with this number, which counts lives."""
        if self.users is None or self.count == 1:
            return self.users
        return self.users + 1 + number % (self.count - 1)

    def words(self) -> tuple[str, ...]:
        """Say what keeps an engine to itself, for people."""
        if not self.has_lives:
            return ()
        own = "no right of a privileged user, and no way to get one"
        if self.has_view:
            network = "the machine's network" if self.network else "no network"
            view = "a view of the machine of its own: its ComfyUI, its Python and its folders, no other process"
            return (view, network, own)
        return (
            "files of the machine: its ComfyUI, its Python and its folders, no other one can be opened",
            "the machine's network, no Unix sockets" if self.network else "no network, no sockets",
            own,
            "NOT a view of its own: that other processes and files are there it can see, and a file's size and times",
            *(["NOT kept from signals to other processes of its user"] if self.signals_others else []),
        )

    def uid_inside(self, number: int) -> int | None:
        """Return the same user's id as the engine sees it."""
        uid = self.uid(number)
        if uid is None or self.users is None or not self.in_users:
            return uid
        return uid - self.users


def users_with_processes() -> set[int]:
    """Return the user ids of all processes, also of those that hide their owner from /proc's own."""
    found: set[int] = set()
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


def seen(sandbox: Sandbox, runtime: Runtime, life: Path, number: int) -> list[dict[str, Any]]:
    """Return what an engine is to have of the machine, with its folders in `life`: mounts, or rules.

    `number`: of its user. Raises `RulesLeadHome`.
    """
    if not sandbox.has_view:
        return rules(runtime, life, network=sandbox.network, gpu=sandbox.gpu)
    return mounts(
        runtime,
        lives=life.parent,
        life=life,
        network=sandbox.network,
        gpu=sandbox.gpu,
        layered=sandbox.layered,
        owner=sandbox.uid(number),
    )


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
    processes_at_most: int = PROCESSES_AT_MOST,
    memory_bytes: int | None = None,
    python: Path | None = None,
) -> dict[str, Any]:
    """Return what the rung's script (`enter.py`, `confine.py`) is to do, but for the worker's own descriptors.

    `found`: what is `seen`. `number`: of the engine's user; `file_bytes`: of the largest file that it can write;
    `memory_bytes`: what each process may have for itself; `python`: what runs our script inside, where the command is
    no Python.
    """
    limits = {"processes_at_most": processes_at_most, "file_bytes": file_bytes}
    if memory_bytes is not None:
        limits["memory_bytes"] = memory_bytes
    uid = sandbox.uid_inside(number)
    given = {
        "script": _SCRIPTS[sandbox.rung],
        "privileged": sandbox.privileged,
        "network": sandbox.network,
        "folder": str(folder),
        "command": list(command),
        "environment": environment,
        "limits": limits,
    }
    if sandbox.rung is Rung.LANDLOCK:
        return {**given, "uid": uid, "alone": uid is not None and sandbox.count > 1, "rules": list(found)}
    return {
        **given,
        "bubblewrap": shutil.which("bwrap"),
        "python": str(python or command[0]),
        "users": [sandbox.users, sandbox.count] if sandbox.in_users else None,
        "uid": uid if uid is not None else 0,
        "forks": forks,
        "mounts": list(found),
    }


def make_life(root: Path, uid: int | None) -> RunFiles:
    """Make the folders of one engine's life, which it alone can read and write; `models` it can only read.

    A user of its own must get to them, so the way is open; what is in each is not. An engine of the worker's user could
    open that, and leave a program that runs as the worker whoever starts it, so there the way is closed.
    """
    files = RunFiles(root, uid=uid)
    files.make()
    for folder in (root.parent, root):
        folder.chmod(0o700 if uid is None else 0o711)
    models = root / "models"
    models.mkdir(mode=0o750)
    if uid is not None:
        os.chown(models, -1, uid)
    return files


def let_reach(base: Path, life: Path, uid: int | None) -> None:
    """Let an engine without a view come to its folders and node packs by the machine's own paths. Raises OSError.

    Whatever the umask says: what else of this an engine must not open is closed by its rules.
    """
    if uid is not None:
        with Folder.at(base.resolve()) as held:
            held.let_in(uid)
        for name, mode in ((CUSTOM_NODES, 0o755), (EXTRA_MODEL_PATHS, 0o644)):
            with contextlib.suppress(FileNotFoundError):
                (base / name).chmod(mode)
    link_nodes(life, base)


def enter_command(python: Path, script: str, handed: int) -> list[str]:
    """Return the command that reads a plan from a descriptor and does it."""
    return [str(python), "-I", "-S", str(files("runflow.worker.engine.isolation").joinpath(script)), str(handed)]


def hand_over(given: dict[str, Any] | list[str]) -> int:
    """Return a descriptor from which a plan can be read, for a process that inherits it."""
    descriptor = os.memfd_create("runflow-plan")
    os.write(descriptor, orjson.dumps(given))
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.set_inheritable(descriptor, True)
    return descriptor
