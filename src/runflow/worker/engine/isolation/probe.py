"""Which sandbox this machine offers: tried out with the engine's own Python before anybody relies on it."""

import asyncio
import os
import shutil
import stat
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

import structlog

from runflow.worker.engine.isolation import landlock
from runflow.worker.engine.isolation.rules import RulesLeadHome
from runflow.worker.engine.isolation.rungs import (
    Rung,
    Sandbox,
    first_uid,
    gpu_of_a_group,
    has_gpu,
    let_reach,
    make_life,
    plan,
    seen,
)
from runflow.worker.engine.isolation.started import tried
from runflow.worker.engine.isolation.view import Runtime

log = structlog.get_logger(__name__)

_PROBE_SECONDS = 60.0
_PROBE_FILE_BYTES = 1 << 20

_ROOTS_NUMBER = "Engines have root's user id, without its rights: RUNFLOW_ENGINE_USER or the GPU's devices ask for it."
_SEES = """
import os, sys
with open("main.py"): pass
assert len([name for name in os.listdir("/proc") if name.isdigit()]) <= 3, "it sees other processes"
with open(os.path.join(sys.argv[1], "output", "probe"), "w"): pass
"""
_OPENS = """
import os, sys
with open("main.py"): pass
with open(os.path.join(sys.argv[1], "output", "probe"), "w"): pass
for place in (os.path.join(sys.argv[1], "..", "closed"), "/proc/1/cmdline", "/proc"):
    try:
        os.close(os.open(place, os.O_RDONLY))
    except PermissionError:
        continue
    sys.exit("it can open " + place)
"""
_COMPUTES_ON_GPU = """
import torch
if torch.cuda.is_available(): torch.ones(8, device="cuda").sum().item()
"""
_SEES_GPU = """
if torch.version.cuda and not torch.cuda.is_available(): sys.exit("torch does not see the graphics card in it")
"""
"""What a view shows of devices is known; what a library needs beside them, a rule may lack."""


async def probe(
    runtime: Runtime, *, network: bool, user: int | Literal["own", "same"] = "own", only: Rung | None = None
) -> Sandbox:
    """Return the best sandbox that works here for this ComfyUI; what was tried and failed is in `why_not_better`.

    `user`: as root, which user id engines have: one of their own, the worker's, or this one. `only`: look at no other
    rung, for tests.
    """
    root = os.geteuid() == 0
    reasons: dict[Rung, str] = {}
    for candidate in candidates(runtime, network=network, user=user):
        if only not in (None, candidate.rung):
            continue
        reason = await _try(candidate, runtime)
        if reason is None:
            return replace(candidate, why_not_better=why_not_better(candidate, reasons, root=root, user=user))
        reasons[candidate.rung] = reason
        log.info(
            "A sandbox does not work here.",
            rung=candidate.rung.value,
            layered=candidate.layered,
            users=candidate.users,
            reason=reason,
        )
    none = Sandbox(Rung.NONE, gpu=has_gpu())
    return replace(none, why_not_better=why_not_better(none, reasons, root=root, user=user))


def candidates(runtime: Runtime, *, network: bool, user: int | Literal["own", "same"]) -> list[Sandbox]:
    """Return what may hold engines here, best first, as far as can be said without trying it."""
    if not hasattr(os, "pidfd_open"):
        return []
    root = os.geteuid() == 0
    best = Sandbox(Rung.NAMESPACES, privileged=root, layered=True, gpu=has_gpu(), network=network)
    if root and isinstance(user, int):
        best = replace(best, users=user, count=1)
    elif root and user == "own" and not gpu_of_a_group():
        best = replace(best, users=first_uid(runtime.base_dir))
    found = [best, replace(best, layered=False)]
    if shutil.which("bwrap") and best.count > 1:  # it gives no engine another user
        found.append(Sandbox(Rung.BUBBLEWRAP, gpu=best.gpu, network=network))
    known = landlock.version()
    if known:
        rules = replace(best, rung=Rung.LANDLOCK, layered=False)
        signals = known < landlock.SIGNALS_SINCE
        found += [replace(rules, signals_others=signals and rules.count == 1)] if rules.users is not None else []
        found += [replace(rules, users=None, signals_others=signals)] if user in ("own", "same") else []
    return found


_NEXT_STEP = {
    (Rung.NAMESPACES, True): "A container needs CAP_SYS_ADMIN for them.",
    (Rung.NAMESPACES, False): (
        "Allow them to users (kernel.apparmor_restrict_unprivileged_userns=0, or kernel.unprivileged_userns_clone=1)."
    ),
}


def why_not_better(
    found: Sandbox, reasons: dict[Rung, str], *, root: bool, user: int | Literal["own", "same"]
) -> str | None:
    """Return of each better rung why it is not used, with what to do about it; None at the best."""
    said = []
    if found.rung is not Rung.NAMESPACES:
        why = reasons.get(Rung.NAMESPACES, "only Linux (5.12 or later) has what it takes")
        said.append(f"Namespaces cannot be used: {why}. {_NEXT_STEP[Rung.NAMESPACES, root]}")
        if found.rung is not Rung.BUBBLEWRAP:
            because = reasons.get(Rung.BUBBLEWRAP, "there is no `bwrap`; install it, as a rule as `bubblewrap`")
            said.append(f"Bubblewrap cannot be used: {because}.")
    if found.rung is Rung.NONE and hasattr(os, "pidfd_open"):
        if not landlock.version():
            said.append(
                "Landlock cannot be used: this kernel has none. Take Linux 5.13 or later, with landlock in lsm=."
            )
        elif Rung.LANDLOCK in reasons:
            said.append(f"Landlock cannot be used: {reasons[Rung.LANDLOCK]}.")
    if found.rung is Rung.NAMESPACES and root and found.users is None:
        said.append(_ROOTS_NUMBER)
    if found.rung is Rung.BUBBLEWRAP and root:
        said.append("Engines have root's user id, without its rights.")
    if found.rung is Rung.LANDLOCK and root and found.users is None:
        apart = reasons.get(Rung.LANDLOCK) if user == "own" else None
        said.append(f"Engines have root's user id, without its rights: {apart}." if apart else _ROOTS_NUMBER)
    if found.signals_others:
        said.append("An engine can end other processes of its user: Linux 6.12 or later keeps it from that.")
    return " ".join(said) or None


async def _try(sandbox: Sandbox, runtime: Runtime) -> str | None:
    """Run a program inside; return what went wrong, or None."""
    if sandbox.has_view:
        made = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="runflow-probe-"))
    else:
        if (closed := closed_above(runtime.base_dir)) is not None and sandbox.users is not None:
            return f"a user of its own cannot be used, for {closed} lets nobody else in"
        made = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="probe-", dir=runtime.base_dir))
    try:
        return await _try_in(made, sandbox, runtime)
    except (OSError, RulesLeadHome) as error:
        return str(error)
    finally:
        await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)


async def _try_in(made: Path, sandbox: Sandbox, runtime: Runtime) -> str | None:
    life = made / "life"
    await asyncio.to_thread(_make, life, sandbox, runtime)
    code = _SEES if sandbox.has_view else _OPENS
    if sandbox.gpu:
        code += _COMPUTES_ON_GPU if sandbox.has_view else _COMPUTES_ON_GPU + _SEES_GPU
    given = plan(
        sandbox,
        seen(sandbox, runtime, life, 0),
        [str(runtime.python), "-I", "-c", code, str(runtime.base_dir if sandbox.has_view else life)],
        folder=runtime.comfy_dir,
        environment={"PATH": os.environ.get("PATH", "")},
        number=0,
        file_bytes=_PROBE_FILE_BYTES,
    )
    return await tried(runtime.python, given, _PROBE_SECONDS)


def _make(life: Path, sandbox: Sandbox, runtime: Runtime) -> None:
    uid = sandbox.uid(0)
    make_life(life, uid)
    if not sandbox.has_view:
        let_reach(runtime.base_dir, life, uid)
        closed = life.parent / "closed"  # to everybody but by the rules
        closed.write_text("")
        closed.chmod(0o644)


def closed_above(folder: Path) -> Path | None:
    """Return the uppermost folder above this one that only its owner may enter, None where there is none."""
    above = [place for place in reversed(folder.absolute().parents) if place.exists()]
    return next((place for place in above if not place.stat().st_mode & stat.S_IXOTH), None)
