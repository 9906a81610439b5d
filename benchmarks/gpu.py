"""What holds on a graphics card: forks, sandboxes, and the memory that runs need there.

Needs a CUDA device and takes some minutes there; elsewhere it says that nothing was run. It answers what no machine
without one can: at which levels engines can be forked, whether what they are forked from stays free of CUDA, in which
sandboxes CUDA works, and what the plugin reports of a run's memory. Level 3 is tried as it is on a CPU: where importing
ComfyUI touches the device, it says so and forks nothing.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.engines import Starts, start, verdict
from runflow.settings import Settings
from runflow.worker.engine.boot import OwnedSettings, can_run_as, find_python
from runflow.worker.engine.execution import Execution
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation import probe
from runflow.worker.engine.isolation.rungs import Rung, Sandbox, let_reach, make_life, plan, seen
from runflow.worker.engine.owned import OwnedEngine
from runflow.worker.engine.process import EngineProcess
from runflow.worker.pool.engine_choice import ENGINE_UID

BUDGET_CPU = 1 / 3
NOT_RUN = "not run: no CUDA device here"
DEVICES = ("/dev/nvidia", "/dev/dxg")
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 1024, "height": 1024, "batch_size": 1, "color": 255}},
    "2": {"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 8, "sigma": 2.0}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "bench"}},
}
"""The second node computes on the graphics card, and needs no model."""
_WHICH = """
import torch
print(torch.cuda.get_device_name(0) + ", torch " + torch.__version__ if torch.cuda.is_available() else "")
"""
_COMPUTES = 'import torch; print("CUDA works:", torch.zeros(1, device="cuda").item())'
_PROBE_SECONDS = 120.0


def device(python: Path) -> str | None:
    """Return the name of the CUDA device that a ComfyUI's torch sees, None where there is none."""
    try:
        asked = subprocess.run(
            [python, "-c", _WHICH], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() or None


async def measure(comfyui: Path, rounds: int, levels: tuple[int, ...]) -> None:
    """Take boots and forks, look at what is forked from, and try CUDA in each sandbox."""
    with tempfile.TemporaryDirectory(prefix="runflow-bench-") as made:
        folder = Path(made)
        await asyncio.to_thread(folder.chmod, 0o755)
        boots = Starts()
        plain = OwnedSettings(comfyui, folder / "plain")
        for _ in range(rounds):
            engine = await start(OwnedEngine(plain), boots)
            show_run("booted, no sandbox", await run(engine))
            await engine.stop()
        boots.show("python main.py, no sandbox")
        for level in levels:
            await forks(comfyui, folder / f"level-{level}", level, rounds, boots)
        home = EngineHome(OwnedSettings(comfyui, folder / "rungs", enclosed=True, network=False))
        await home.open()
        try:
            print(f"sandboxes: a worker uses {home.sandbox.rung}; {home.sandbox.why_not_better or 'the best'}")
            for name, sandbox in candidates(home):
                print(f"  {name:44}  {await computes_in(home, sandbox)}")
        finally:
            await home.close()


async def forks(comfyui: Path, base: Path, level: int, rounds: int, boots: Starts) -> None:
    """Print what forks at this level cost beside boots, and what they leave where they come from."""
    settings = OwnedSettings(
        comfyui, base, enclosed=True, network=False, fork_levels=(level,), proofs=base.with_suffix(".proofs")
    )
    home = EngineHome(settings)
    first = OwnedEngine(settings, home)
    try:
        await start(first, Starts())
        await home.settled()
        await first.stop()
        server = home.forks.server
        if not home.can_fork or server is None:
            print(f"  level {level}: not forked. {home.facts.why_not_better}")
            return
        print(f"  level {level}: forked on rung {home.facts.rung}; {home.facts.why_not_better or 'the best'}")
        taken = Starts()
        for number in range(rounds * 2):
            engine = await start(OwnedEngine(settings, home), taken)
            show_run(f"forked at level {level}, run {number + 1}", await run(engine))
            await engine.stop()
        taken.show(f"fork at level {level}, in a sandbox")
        verdict(f"fork at level {level} : boot, CPU", middle(taken.cpu) / middle(boots.cpu), BUDGET_CPU)
        print(f"  {'computes on the card in a child':44}  {await server.computes(cuda=True)}")
        held = sorted(open_devices([process.pid for process in server.processes()]))
        print(f"  {'CUDA begun where it is forked from':44}  {server.has_cuda}")
        print(f"  {'devices open there':44}  {', '.join(held) or 'none'}")
    finally:
        await first.stop()
        await home.close()


def middle(values: list[float]) -> float:
    """Return the median."""
    return sorted(values)[len(values) // 2]


def open_devices(processes: list[int]) -> Iterator[str]:
    """Yield the graphics devices that processes have open."""
    for process in processes:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(entry.readlink())
                    if target.startswith(DEVICES):
                        yield target


async def run(engine: OwnedEngine) -> Execution:
    """Execute one prompt on the graphics card."""
    prompt: dict[str, Any] = PROMPT
    return await engine.execute(prompt, str(uuid.uuid4()))


def show_run(name: str, execution: Execution) -> None:
    """Print how a run went, and the memory that the plugin saw it take."""
    peak = execution.peak_memory_bytes
    memory = "the plugin reports no peak of memory" if peak is None else f"peak {peak / 2**20:.0f} MiB on the card"
    print(f"  {name:44}  {execution.outcome.value}, {memory}")


def candidates(home: EngineHome) -> Iterator[tuple[str, Sandbox]]:
    """Yield every sandbox that could hold an engine here, best first."""
    for found in probe.candidates(home.runtime, network=False, user="own"):
        held = replace(found, gpu=True)
        name = str(held.rung) + ("" if held.users is None else ", a user of its own")
        if held.rung is Rung.NAMESPACES and held.users is not None and held.layered:
            yield f"{name}, in a user namespace (forks)", replace(held, mapped=True)
        yield name if held.layered or held.rung is not Rung.NAMESPACES else f"{name}, ComfyUI read-only", held
    if os.geteuid() == 0:
        yield "a user of its own", Sandbox(Rung.USER, users=ENGINE_UID, count=1)
    yield "none", Sandbox(Rung.NONE)


async def computes_in(home: EngineHome, sandbox: Sandbox) -> str:
    """Return what a program says that computes on the card in this sandbox."""
    python, base = home.runtime.python, home.base_dir
    command = [str(python), "-I", "-c", _COMPUTES]
    environment = {"PATH": os.environ.get("PATH", "")}
    log_path = base / "probe.log"
    process = EngineProcess(
        command, cwd=home.settings.comfy_dir, env=environment, log_path=log_path, pid_path=base / "probe.pid"
    )
    life = home.lives / uuid.uuid4().hex
    try:
        if sandbox.has_lives:
            make_life(life, sandbox.uid(1))
            if not sandbox.has_view:
                let_reach(base, life, sandbox.uid(1))
            found = seen(sandbox, home.runtime, life, 1)
            given = plan(
                sandbox,
                found,
                command,
                folder=home.settings.comfy_dir,
                environment=environment,
                number=1,
                file_bytes=1 << 30,
            )
            await process.start_within(given)
        elif sandbox.rung is Rung.USER and not can_run_as(ENGINE_UID, python, home.settings.comfy_dir):
            return "not tried: others cannot read this ComfyUI, or its Python"
        else:
            await process.start(uid=sandbox.users)
        async with asyncio.timeout(_PROBE_SECONDS):
            await process.wait()
        return (process.log_tail().strip().splitlines() or ["it ended without a word"])[-1]
    except TimeoutError:
        return f"it hangs for more than {_PROBE_SECONDS:.0f} s"
    finally:
        await process.kill()


def main() -> None:
    """Measure on the CUDA device of this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    comfyui = Settings().comfyui_dir.absolute()
    if not any(entry.as_posix().startswith(DEVICES) for entry in Path("/dev").iterdir()):
        print(f"gpu: {NOT_RUN}")
        return
    if not (comfyui / "main.py").exists():
        print(f"gpu: not run: there is no ComfyUI in {comfyui} (`runflow comfyui install`)")
        return
    found = device(find_python(OwnedSettings(comfyui, comfyui)))
    if found is None:
        print(f"gpu: {NOT_RUN} (the torch of {comfyui} sees none)")
        return
    print(f"gpu: {found}; seconds, median and most of {rounds}; load {os.getloadavg()[0]:.1f}")
    asyncio.run(measure(comfyui, rounds, (0, 3)))


if __name__ == "__main__":
    main()
