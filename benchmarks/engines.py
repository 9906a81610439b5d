"""What an engine costs: booted and forked, with a sandbox and without, and beside others.

The floor of a start is `python main.py` of the same ComfyUI with the same flags, without a sandbox, taken in turns with
the forks. CPU is that of all its processes until it answers; memory is what each process has for itself (USS) plus,
of what is shared, its share (PSS).
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from runflow.settings import Settings
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.owned import OwnedEngine

BUDGET_CPU, BUDGET_WALL, BUDGET_SANDBOX, BUDGET_CHANGE, BUDGET_MEMORY = 1 / 50, 1 / 20, 0.060, 0.3, 2.0
BUDGET_CPU_OF_PACKAGES = 1 / 3
PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "bench"}},
}


@dataclass
class Starts:
    """Seconds of several starts."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def show(self, name: str) -> None:
        """Print the middle and the most."""
        print(
            f"  {name:34}  wall {statistics.median(self.wall):7.3f} {max(self.wall):7.3f}"
            f"   CPU {statistics.median(self.cpu):6.3f} {max(self.cpu):6.3f}"
        )


def family(engine: OwnedEngine) -> list[psutil.Process]:
    """Return the processes of an engine."""
    first = psutil.Process(engine.pid)
    return [first, *first.children(recursive=True)]


def cpu_of(engine: OwnedEngine) -> float:
    """Return the CPU seconds that an engine has taken."""
    total = 0.0
    for process in family(engine):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


def memory_of(processes: list[psutil.Process]) -> float:
    """Return the MiB that processes take together, what is shared counted once."""
    return sum(process.memory_full_info().pss for process in processes) / 2**20


async def start(engine: OwnedEngine, into: Starts) -> OwnedEngine:
    """Start an engine and note what that took."""
    began = time.perf_counter()
    await engine.start()
    into.wall.append(time.perf_counter() - began)
    into.cpu.append(cpu_of(engine))
    return engine


async def run(engine: OwnedEngine) -> None:
    """Execute one small prompt."""
    await engine.execute(PROMPT, str(uuid.uuid4()))


def verdict(name: str, value: float, budget: float, unit: str = "") -> None:
    """Print a number beside its budget."""
    missed = "" if value <= budget else "   missed"
    print(f"  {name:44}  {value:8.4f}{unit}   budget {budget:.4f}{unit}{missed}")


async def measure(comfyui: Path, rounds: int) -> None:
    """Take boots and forks in turns, then what a sandbox adds, what a change costs, and memory."""
    boots, forks = Starts(), Starts()
    with tempfile.TemporaryDirectory(prefix="runflow-bench-") as folder:
        plain = OwnedSettings(comfyui, Path(folder) / "plain")
        home = EngineHome(OwnedSettings(comfyui, Path(folder) / "held", enclosed=True, network=False))
        first = OwnedEngine(home.settings, home)
        try:
            await start(first, Starts())
            await home.settled()
            print(f"engines of {comfyui}: seconds, median and most of {rounds}; load {os.getloadavg()[0]:.1f}")
            facts = home.facts
            print(f"  rung {facts.rung}, fork level {facts.fork_level}; {facts.why_not_better or 'the best'}")
            await first.stop()
            if not home.can_fork:
                print("  forks: not run")
                return
            for _ in range(rounds):
                booted = await start(OwnedEngine(plain), boots)
                booted_memory = memory_of(family(booted))
                await booted.stop()
                for _ in range(3):
                    await (await start(OwnedEngine(home.settings, home), forks)).stop()
            boots.show("python main.py, no sandbox")
            forks.show("fork in a sandbox")
            verdict("fork : boot, CPU", statistics.median(forks.cpu) / statistics.median(boots.cpu), BUDGET_CPU)
            verdict("fork : boot, wall", statistics.median(forks.wall) / statistics.median(boots.wall), BUDGET_WALL)
            await sandbox(home, rounds)
            await change(home, rounds)
            await memory(home, booted_memory)
        finally:
            await first.stop()
            await home.close()
        await packages(OwnedSettings(comfyui, Path(folder) / "packages", enclosed=True, network=False), rounds, boots)


async def packages(settings: OwnedSettings, rounds: int, boots: Starts) -> None:
    """Print what a fork costs at level 0, where only packages are imported before it, as on a graphics card."""
    settings = replace(settings, fork_levels=(0,), proofs=settings.base_dir.with_suffix(".proofs"))
    home, forks = EngineHome(settings), Starts()
    first = OwnedEngine(settings, home)
    try:
        await start(first, Starts())
        await home.settled()
        await first.stop()
        if not home.can_fork:
            print(f"  level 0: not run. {home.facts.why_not_better}")
            return
        for _ in range(rounds):
            await (await start(OwnedEngine(settings, home), forks)).stop()
    finally:
        await first.stop()
        await home.close()
    forks.show("fork at level 0, in a sandbox")
    ratio = statistics.median(forks.cpu) / statistics.median(boots.cpu)
    verdict("fork at level 0 : boot, CPU", ratio, BUDGET_CPU_OF_PACKAGES)


async def sandbox(home: EngineHome, rounds: int) -> None:
    """Print how much of a fork its sandbox takes: the same child with and without a view of its own."""
    assert home.forks.server is not None
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds * 5):
        for held in (True, False):
            life = await asyncio.to_thread(home.new_life)
            began = time.perf_counter()
            settled = await home.forks.server.settle_only(life.name, life.number, held=held)
            taken[held].append(time.perf_counter() - began)
            assert settled == 0
            await asyncio.to_thread(home.end_life, life)
    added = statistics.median(taken[True]) - statistics.median(taken[False])
    verdict("the sandbox adds to a fork", added, BUDGET_SANDBOX, " s")


async def change(home: EngineHome, rounds: int) -> None:
    """Print how long it takes from the end of one organization's run until another one's is executed."""
    taken = []
    for _ in range(rounds):
        before = await start(OwnedEngine(home.settings, home), Starts())
        await run(before)
        began = time.perf_counter()
        await before.stop()
        after = await start(OwnedEngine(home.settings, home), Starts())
        await run(after)
        taken.append(time.perf_counter() - began)
        await after.stop()
    verdict("a change of organization, with its first run", statistics.median(taken), BUDGET_CHANGE, " s")


async def memory(home: EngineHome, booted: float) -> None:
    """Print what five forked engines take together with the fork server, against a booted one."""
    assert home.forks.server is not None
    engines = [await start(OwnedEngine(home.settings, home), Starts()) for _ in range(5)]
    for engine in engines:
        await run(engine)
    together = memory_of(home.forks.server.processes())
    print(f"  memory: booted {booted:.0f} MiB; five forked, with the fork server, {together:.0f} MiB")
    verdict("five forked : one booted", together / booted, BUDGET_MEMORY)
    for engine in engines:
        await engine.stop()


def main() -> None:
    """Measure on the ComfyUI of this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    comfyui = Settings().comfyui_dir.absolute()
    if not (comfyui / "main.py").exists():
        print(f"engines: not run, for there is no ComfyUI in {comfyui} (`runflow comfyui install`)")
        return
    asyncio.run(measure(comfyui, rounds))


if __name__ == "__main__":
    main()
