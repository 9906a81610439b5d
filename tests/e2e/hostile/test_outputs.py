"""Files that are none, as outputs: the run fails with a reason or delivers its own, and the worker goes on."""

import os
from pathlib import Path

import pytest

from tests.support.e2e_prompts import node
from tests.support.hostile_installation import HostileInstallation, contents, nothing_got, smuggle_prompt
from tests.support.hostile_pack.pack import SMUGGLES

OWN_FILES = frozenset(
    {"output-swapped-file", "output-swapped-folder", "output-swapped-fifo", "output-growing", "output-shrinking"}
)
"""Those that are plain files of its own at times, so that a run may deliver them."""

AGAIN = 5
"""How often what depends on the moment is tried."""

OUTPUTS = tuple(name for name in SMUGGLES if name.startswith("output-"))


def secrets_of(hostile: HostileInstallation) -> list[bytes]:
    """Return what no output may hold."""
    home = hostile.platform.home
    return [(home / name).read_bytes().strip() for name in ("secret.key", "worker.token", "postgres.password")]


def the_worker_goes_on(hostile: HostileInstallation, pid: int) -> None:
    """The same worker process serves the next run."""
    nothing_got("environment", hostile.attacker.attack("environment", hostile.given()))
    worker = hostile.platform.worker()
    assert worker is not None and worker.pid == pid


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_is_no_plain_file_of_the_run_is_not_delivered(hostile: HostileInstallation, name: str) -> None:
    given = hostile.given()
    for _ in range(AGAIN if name in OWN_FILES else 1):
        run = hostile.attacker.smuggle(name, given)
        delivered = contents(run, "smuggled")
        assert not any(secret in delivered for secret in secrets_of(hostile)), f"{name} got a secret"
        if run["status_code"] == "succeeded":
            assert name in OWN_FILES, f"{name} was delivered, {len(delivered)} bytes"
        else:
            assert run["failure_stage_code"] in ("collect", "upload"), run["failure_message"]
            assert run["failure_code"] not in ("INTERNAL", "ENGINE_CRASHED", "TIMEOUT"), run["failure_message"]
            assert run["attempt_count"] == 1, run["failure_message"]
    the_worker_goes_on(hostile, given["worker_pid"])


def test_a_swapped_input_folder_gets_no_input_written_elsewhere(hostile: HostileInstallation, tmp_path: Path) -> None:
    given = hostile.given()
    closed = Path(given["closed_folder"])
    file = node("RunflowInputFile", input_id="file", display_name="", description="", required=True)
    taking = node("RunflowHostile", name=["1", 0], parameters=["2", 0], filename_prefix="loot", file=["3", 0])
    path = hostile.attacker.deploy("swap", {**smuggle_prompt(), "3": file, "4": taking})
    code = tmp_path / "left.pth"
    code.write_text("import os\n")
    inputs = {"name": "input-swapped-folder", "file": hostile.attacker.api.upload(code)}
    for _ in range(AGAIN):
        hostile.attacker.smuggle("input-swapped-folder", given)
        for _ in range(AGAIN):
            hostile.attacker.run(path, {**inputs, "parameters": "{}"})
        assert list(closed.iterdir()) == [], "the worker wrote an input outside of the engine's folders"
    assert (closed.stat().st_uid, closed.stat().st_mode & 0o777) == (hostile.platform.uid or os.geteuid(), 0o700)
    hostile.victim.attack("environment", hostile.given())
    the_worker_goes_on(hostile, given["worker_pid"])
