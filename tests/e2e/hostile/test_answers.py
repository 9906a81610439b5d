"""What a hostile engine tells its worker: the run ends, the worker keeps its size, and the next run is served."""

from pathlib import Path

import pytest

from tests.support.hostile_installation import HostileInstallation, nothing_got
from tests.support.hostile_pack.pack import SMUGGLES

ANSWERS = tuple(name for name in SMUGGLES if name.startswith("answer-"))
MOST_GROWTH_KIB = 64 * 1024
"""By so much a worker may grow for a while, whatever its engine says to it."""


def memory_kib(pid: int, name: str) -> int:
    """Return a process's memory as the kernel counts it: `VmRSS` now, `VmHWM` at most so far."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines[name].split()[0])


def size_before(pid: int) -> int:
    """Return its memory, and let the kernel measure its most anew from here; else that is the most so far."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except PermissionError:
        return memory_kib(pid, "VmHWM")
    return memory_kib(pid, "VmRSS")


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_engine_says_does_not_take_its_worker_down(hostile: HostileInstallation, name: str) -> None:
    given = hostile.given()
    before = size_before(given["worker_pid"])
    run = hostile.attacker.smuggle(name, given)
    assert run["status_code"] in ("succeeded", "failed")
    assert len(str(run["failure_message"])) < 5000
    nothing_got("environment", hostile.victim.attack("environment", hostile.given()))
    assert hostile.given()["worker_pid"] == given["worker_pid"], "the worker did not survive it"
    assert memory_kib(given["worker_pid"], "VmHWM") - before < MOST_GROWTH_KIB
