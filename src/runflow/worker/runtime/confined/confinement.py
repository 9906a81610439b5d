"""What holds builds of strangers' code on this machine, and the user that each of them runs as."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runflow.worker.engine.isolation import landlock
from runflow.worker.engine.isolation.probe import closed_above, why_not_better
from runflow.worker.engine.isolation.rules import rules_of_build
from runflow.worker.engine.isolation.rungs import FIRST_BUILD_UID, Rung, Sandbox, plan, users_with_processes
from runflow.worker.engine.isolation.started import tried
from runflow.worker.engine.isolation.view import folders_of_python, mounts_of_build
from runflow.worker.runtime.commands import InstallError

PYTHON = Path(sys.executable)
"""What runs the scripts of the sandbox."""
_PROBE_SECONDS = 60.0
_SHELL = Path("/bin/sh")
TRIES = """
: >"$1/written" || exit 1
for place in "$2" /proc/1/environ; do
    if (: <"$place") 2>/dev/null && [ "$(cat "$place")" ]; then echo "it can read $place"; exit 1; fi
done
"""
"""What a sandbox has to refuse to a program, in the shell's words: it has a folder of its own, and a file beside it."""
_found: dict[Path, Sandbox] = {}


class BuildsNotConfined(InstallError):
    """Nothing on this machine keeps strangers' code to itself, so it is not built. The message says why."""


async def confinement(folder: Path) -> Sandbox:
    """Return the best sandbox for commands that write in folders of this one; it is tried out once.

    Raises `BuildsNotConfined` where nothing separates files.
    """
    if folder not in _found:
        _found[folder] = await _confinement(folder)
    return _found[folder]


def candidates() -> list[Sandbox]:
    """Return what may hold builds here, best first: as root only what gives them a user of their own."""
    if not hasattr(os, "pidfd_open"):
        return []
    root = os.geteuid() == 0
    best = Sandbox(Rung.NAMESPACES, privileged=root, users=FIRST_BUILD_UID if root else None, network=False)
    known = landlock.version()
    signals = known < landlock.SIGNALS_SINCE and not root
    found = [
        best,
        *([Sandbox(Rung.BUBBLEWRAP, network=False)] if shutil.which("bwrap") and not root else []),
        *([Sandbox(Rung.LANDLOCK, root, best.users, network=False, signals_others=signals)] if known else []),
    ]
    return [sandbox for sandbox in found if sandbox.separates_files]


async def _confinement(folder: Path) -> Sandbox:
    reasons: dict[Rung, str] = {}
    root = os.geteuid() == 0
    if root:
        reasons[Rung.BUBBLEWRAP] = "it gives a build no user of its own"
    for sandbox in candidates():
        reason = await try_out(sandbox, folder)
        if reason is None:
            return sandbox
        reasons[sandbox.rung] = reason
    why = why_not_better(Sandbox(Rung.NONE), reasons, root=root, user="own")
    raise BuildsNotConfined(
        "Nothing on this machine keeps a build to itself, and this one would run code of strangers, so it is refused. "
        f"{why} Or take a version of the package that has a wheel for this machine."
    )


async def try_out(sandbox: Sandbox, folder: Path) -> str | None:
    """Run a program in a sandbox that works in this folder; return what is wrong with that, None for nothing."""
    if not sandbox.has_view and sandbox.users is not None and (closed := closed_above(folder / "build")) is not None:
        return f"a user of its own cannot be used, for {closed} lets nobody else in"
    try:
        made = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="probe-", dir=folder))
    except OSError as error:
        return f"{folder} cannot be written: {error.strerror}"
    try:
        with own_user(sandbox) as number:
            given = await asyncio.to_thread(_prepared, sandbox, number, made)
            return await tried(PYTHON, given, _PROBE_SECONDS)
    except (OSError, InstallError) as error:
        return str(error)
    finally:
        await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)


def _prepared(sandbox: Sandbox, number: int, made: Path) -> dict[str, Any]:
    """Put beside the folder of the program what it must not read though anybody may, and return its plan."""
    made.chmod(0o711)
    closed = made / "closed"
    closed.write_text("secret")
    closed.chmod(0o644)
    writable = made / "build"
    uid = sandbox.uid(number)
    for place in (writable, writable / "tmp"):
        place.mkdir(mode=0o700)
        if uid is not None:
            os.chown(place, uid, uid)
    return plan(
        sandbox,
        seen_by_build(sandbox, [], writable),
        [str(_SHELL), "-c", TRIES, "sh", str(writable), str(closed)],
        folder=writable,
        environment={"PATH": "/usr/bin:/bin"},
        number=number,
        file_bytes=1 << 20,
        python=PYTHON,
    )


def seen_by_build(sandbox: Sandbox, readable: Sequence[Path], writable: Path) -> list[dict[str, Any]]:
    """Return what a build is to have of the machine: mounts, or rules."""
    if sandbox.rung is Rung.BUBBLEWRAP:  # its last step inside is a script of ours
        readable = [*readable, *folders_of_python(PYTHON, writable)]
    view = mounts_of_build(readable, writable)
    return view if sandbox.has_view else rules_of_build(view)


@contextlib.contextmanager
def own_user(sandbox: Sandbox) -> Iterator[int]:
    """Hold a number of a user of this sandbox that no other build of this machine has (`Sandbox.uid`).

    Raises InstallError where each is in use.
    """
    if sandbox.users is None:
        yield 0
        return
    folder = Path("/run") if os.access("/run", os.W_OK) else Path(tempfile.gettempdir())
    taken = users_with_processes()
    for number in range(sandbox.count - 1):
        uid = sandbox.uid(number)
        lock = os.open(
            folder / f"runflow-build-{uid}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if uid not in taken:
                    yield number
                    return
        finally:
            os.close(lock)
    raise InstallError(
        f"Each user id that builds have here, {sandbox.users} and on, is in use. Wait for other builds to end."
    )
