"""Does anything get lost, stuck, doubled, cross-wired or orphaned while processes, network, disk and database fail?

A real `runflow up` and a second worker, each with a real ComfyUI; faults in an order drawn from the seed. Ends with 1
when anything is wrong.
"""

import argparse
import logging
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import orjson
import structlog

from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.harness import Plan, play
from benchmarks.chaos.machine import Machine
from benchmarks.chaos.report import show, summary
from benchmarks.chaos.verdict import judge
from runflow.settings import Settings


def main() -> None:
    """Play one round and print what it showed."""
    parser = argparse.ArgumentParser(prog="scripts/bench chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="runs to order; each strike adds one that follows it")
    parser.add_argument("--seconds", type=float, default=0, help="how long faults strike; each at least once")
    parser.add_argument("--seed", type=int, default=1, help="what the order of the faults is drawn from")
    parser.add_argument(
        "--fault",
        action="append",
        choices=[fault.name for fault in FAULTS],
        metavar="NAME",
        help="only this fault, such as 'SIGKILL engine' or 'storage full'; may be given several times",
    )
    parser.add_argument("--patience", type=float, default=300, help="seconds without progress that count as a hang")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    comfyui = Settings().comfyui_dir
    if not (comfyui / "main.py").is_file():
        sys.exit(f"There is no ComfyUI in {comfyui}. Install one with: .venv/bin/runflow comfyui install")
    # Whoever ends the benchmark means all that it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Standard output belongs to the result.
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    faults = tuple(fault for fault in FAULTS if options.fault is None or fault.name in options.fault)
    plan = Plan(options.runs, options.seconds, options.seed, options.patience, faults)
    machine = Machine(comfyui, options.patience)
    try:
        outcome = play(plan, machine, lambda text: print(text, file=sys.stderr, flush=True))
        assert outcome.seen is not None
        findings = judge(outcome.seen)
        if findings:
            print(f"logs: {_keep_logs(machine.base)}", file=sys.stderr)
    finally:
        machine.close()
    told = summary(plan, outcome, findings)
    if options.json:
        sys.stdout.buffer.write(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        print(show(told))
    sys.exit(1 if findings else 0)


def _keep_logs(base: Path) -> Path:
    """Copy the logs away before the homes are removed; return where to."""
    kept = Path(tempfile.mkdtemp(prefix="runflow-chaos-logs-"))
    for log in base.rglob("*.log*"):
        if log.is_file():
            shutil.copy(log, kept / "-".join(log.relative_to(base).parts))
    return kept


if __name__ == "__main__":
    main()
