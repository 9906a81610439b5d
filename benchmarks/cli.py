"""What starting the command line costs: CPU of `runflow --help` and of each command that needs no server's packages.

The floor is a command in a group of Typer's that does nothing, asked for its help: what the libraries alone take.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

BUDGET_SECONDS = 0.3
FLOOR = """
import typer
app = typer.Typer(add_completion=False)
@app.callback()
def group() -> None: ...
@app.command()
def nothing(name: str = "") -> None:
    "Do nothing."
app()
"""
CALLS = (
    "--help",
    "--version",
    "worker --help",
    "worker --server http://127.0.0.1:9",
    "comfyui --help",
    "comfyui install --help",
    "plugin --help",
    "plugin install no-comfyui-here",
)
"""Those that are no help do all that they do before their first look at the network or at a ComfyUI."""
SERVERS = ("up --help", "demo --help", "keys --help")
"""Without a budget: they load what a server is made of."""


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """Run a command and return the CPU time that it took, of user and system."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def measure(runs: int) -> None:
    """Take every call in turns, so that all meet the same moods of the machine."""
    python = [sys.executable, "-P"]
    calls = {"the floor": [*python, "-c", FLOOR, "nothing", "--help"]}
    calls |= {f"runflow {words}": [*python, "-m", "runflow", *words.split()] for words in (*CALLS, *SERVERS)}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_")}
    with tempfile.TemporaryDirectory(prefix="runflow-bench-") as home:
        environment = {**kept, "RUNFLOW_HOME": home}
        for command in calls.values():
            cpu_seconds(command, environment)  # what is compiled and cached once
        for _ in range(runs):
            for name, command in calls.items():
                taken[name].append(cpu_seconds(command, environment))
    floor = statistics.median(taken["the floor"])
    print(f"start of the command line: CPU seconds, median and most of {runs}; budget {BUDGET_SECONDS} s")
    for name, values in taken.items():
        middle = statistics.median(values)
        judged = any(name == f"runflow {words}" for words in CALLS)
        missed = "   missed" if judged and middle > BUDGET_SECONDS else ""
        print(f"  {name:44}  {middle:5.2f}  {max(values):5.2f}   {middle / floor:4.1f} times the floor{missed}")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    measure(parser.parse_args().runs)


if __name__ == "__main__":
    main()
