"""kill -9 of anything, with runs queued and running: none lost, none stuck; one end, output set and callback each."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runflow.client import RunFailed, Runflow
from tests.e2e import prompts
from tests.platform_fixtures import Platform, Receiver, installation, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

QUICK_LEASES = {"RUNFLOW_LEASE_SECONDS": "4"}


@pytest.fixture
def platform(comfyui_dir: Path) -> Iterator[Platform]:
    with installation(comfyui_dir, environment=QUICK_LEASES) as started:
        yield started


@pytest.fixture
def api(platform: Platform) -> Iterator[Runflow]:
    with Runflow(platform.url, platform.key()) as client:
        yield client


def dispatch_some(api: Runflow, receiver: Receiver, count: int = 4, seconds: float = 2.0) -> list[dict[str, Any]]:
    """Dispatch runs and wait until the first is running."""
    path = api.deploy("sleep", prompts.sleep(seconds))["path"]
    runs = [api.dispatch(path, {"colour": number}, callback_url=receiver.url) for number in range(count)]
    until(lambda: api.run(runs[0]["id"])["status_code"] == "running", "the first run is running", 90)
    return runs


def all_end_once(
    platform: Platform, api: Runflow, runs: list[dict[str, Any]], receiver: Receiver
) -> list[dict[str, Any]]:
    """Every run succeeds, has one output set, and its callback comes once."""
    try:
        ended = [api.wait(run["id"], timeout=120) for run in runs]
    except (TimeoutError, RunFailed) as stuck:
        pytest.fail(f"{stuck}\n{[api.run(run['id']) for run in runs]}\n{platform.log()}")
    assert [len(run["output"]["outputs"]) for run in ended] == [1] * len(runs)
    until(lambda: len(receiver.bodies) >= len(runs), "every callback")
    assert sorted(body["run_id"] for body in receiver.bodies) == sorted(run["id"] for run in runs)
    return ended


def test_comfyui_killed_in_mid_run(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_some(api, receiver)
    engine = platform.engine()
    assert engine is not None
    engine.kill()
    ended = all_end_once(platform, api, runs, receiver)
    assert ended[0]["attempt_count"] >= 2


def test_worker_killed_in_mid_run_takes_its_engine_along(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_some(api, receiver)
    worker, engine = platform.worker(), platform.engine()
    assert worker is not None and engine is not None
    worker.kill()
    engine.wait(10)
    all_end_once(platform, api, runs, receiver)


def test_server_killed_with_runs_queued_and_running(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_some(api, receiver)
    platform.kill()
    until(lambda: not platform.processes(), "no process of the dead installation is left", 30)
    platform.start()
    all_end_once(platform, api, runs, receiver)


def test_database_killed_with_runs_queued_and_running(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_some(api, receiver)
    postmaster = platform.postmaster()
    assert postmaster is not None
    postmaster.kill()
    until(platform.ready, "readiness after the database came back", 60)
    all_end_once(platform, api, runs, receiver)


def test_ctrl_c_leaves_no_process_and_loses_nothing(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_some(api, receiver)
    assert platform.stop(signal.SIGINT) == 0, platform.log()
    assert platform.processes() == []
    platform.start()
    all_end_once(platform, api, runs, receiver)


def test_an_engine_that_dies_of_a_run_again_and_again_fails_that_run_with_the_reason(
    platform: Platform, api: Runflow
) -> None:
    path = api.deploy("ending", prompts.ending())["path"]
    good = api.deploy("sleep", prompts.sleep(0.1))["path"]
    run = api.dispatch(path, {})
    with pytest.raises(RunFailed) as failed:
        api.wait(run["id"], timeout=180)
    assert (failed.value.run["failure_code"], failed.value.run["attempt_count"]) == ("ENGINE_CRASHED", 3)
    assert api.wait(api.dispatch(good, {"colour": 1})["id"], timeout=60)["status_code"] == "succeeded"


def test_nothing_is_left_of_an_installation_that_was_killed_whole(
    platform: Platform, api: Runflow, receiver: Receiver
) -> None:
    runs = dispatch_some(api, receiver)
    for process in platform.processes():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    assert platform.process is not None
    platform.process.wait()
    platform.start()
    all_end_once(platform, api, runs, receiver)
