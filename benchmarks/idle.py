"""What an idle installation costs: memory and CPU of server, worker and PostgreSQL, and of the engine apart."""

import argparse
import contextlib
import time

import psutil

from benchmarks.installation import Running, installation


def memory_mib(processes: list[psutil.Process]) -> float:
    """Return the proportional memory of these processes: what they share counts once."""
    return sum(getattr(process.memory_full_info(), "pss", process.memory_info().rss) for process in processes) / 2**20


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return the CPU time that these processes have used."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def measure(running: Running, seconds: float) -> None:
    """Wait until the engine is there and everything has settled, then watch."""
    while not running.parts()["engine"]:
        time.sleep(0.5)
    time.sleep(25)
    parts = running.parts()
    before = {name: cpu_seconds(processes) for name, processes in parts.items()}
    time.sleep(seconds)
    total = 0.0
    print(f"idle for {seconds:.0f} s")
    for name, processes in parts.items():
        share = (cpu_seconds(processes) - before[name]) / seconds
        total += 0 if name == "engine" else memory_mib(processes)
        print(f"  {name:8}  {memory_mib(processes):6.0f} MiB   {share:6.2%} of a core")
    print(f"  without the engine: {total:.0f} MiB")


def main() -> None:
    """Start a server with its worker, and leave it alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    with installation() as running:
        measure(running, parser.parse_args().seconds)


if __name__ == "__main__":
    main()
