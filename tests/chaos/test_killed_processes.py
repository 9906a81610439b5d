"""kill -9 of anything, with runs queued and running: none lost, none stuck; one end, output set and callback each."""

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from runflow.client import RunFailed, Runflow
from tests.support import e2e_prompts
from tests.support.platform_fixtures import Platform, Receiver, installation, is_held, let_go, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

QUICK_LEASES = {"RUNFLOW_LEASE_SECONDS": "4"}


@pytest.fixture(scope="module")
def installed(comfyui_dir: Path) -> Iterator[Platform]:
    """One installation for all kills: what the test before left is the next one's start."""
    with installation(comfyui_dir, environment=QUICK_LEASES) as started:
        yield started


@pytest.fixture(scope="module")
def key(installed: Platform) -> str:
    return installed.key()


@pytest.fixture
def platform(installed: Platform) -> Platform:
    """The installation, running: a test that failed may have left it dead."""
    assert installed.process is not None
    if installed.process.poll() is not None:
        installed.start()
    until(installed.ready, "readiness after what the test before did")
    return installed


@pytest.fixture
def api(platform: Platform, key: str) -> Iterator[Runflow]:
    with Runflow(platform.url, key) as client:
        yield client


def dispatch_some(api: Runflow, receiver: Receiver, first: e2e_prompts.Prompt) -> list[dict[str, Any]]:
    """Dispatch runs, of which the first is the one to be hit, and wait until that is running."""
    slow, quick = (
        api.deploy(name, prompt)["path"] for name, prompt in (("slow", first), ("quick", e2e_prompts.sleep(0.3)))
    )
    runs: list[dict[str, Any]] = [api.submit(slow, {"colour": 0}, callback_url=receiver.url)]
    runs += [api.submit(quick, {"colour": number}, callback_url=receiver.url) for number in (1, 2, 3)]
    until(lambda: api.get_run(runs[0]["id"])["status_code"] == "running", "the first run is running")
    return runs


def dispatch_held(platform: Platform, api: Runflow, receiver: Receiver) -> list[dict[str, Any]]:
    """The same with a first run that stays on the engine until it, or its engine, is ended."""
    name = uuid.uuid4().hex
    runs = dispatch_some(api, receiver, e2e_prompts.hold(name))
    until(lambda: is_held(platform.home, f"{name}-0"), "the node is at work")
    let_go(platform.home, f"{name}-0")
    return runs


def all_end_once(
    platform: Platform, api: Runflow, runs: list[dict[str, Any]], receiver: Receiver
) -> list[dict[str, Any]]:
    """Every run succeeds, has one output set, and its callback comes once."""
    try:
        ended: list[dict[str, Any]] = [api.wait(run["id"], timeout=300) for run in runs]
    except (TimeoutError, RunFailed) as stuck:
        pytest.fail(f"{stuck}\n{[api.get_run(run['id']) for run in runs]}\n{platform.log()}")
    assert [len(run["output"]["outputs"]) for run in ended] == [1] * len(runs)
    until(lambda: len(receiver.bodies) >= len(runs), "every callback")
    assert sorted(body["run_id"] for body in receiver.bodies) == sorted(run["id"] for run in runs)
    return ended


def test_comfyui_killed_in_mid_run(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_held(platform, api, receiver)
    engine = platform.engine()
    assert engine is not None
    engine.kill()
    ended = all_end_once(platform, api, runs, receiver)
    assert ended[0]["attempt_count"] >= 2


def test_worker_killed_in_mid_run_takes_its_engine_along(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_held(platform, api, receiver)
    worker, engine = platform.worker(), platform.engine()
    assert worker is not None and engine is not None
    worker.kill()
    engine.wait(60)
    all_end_once(platform, api, runs, receiver)


def test_server_killed_with_runs_queued_and_running(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_held(platform, api, receiver)
    platform.kill()
    until(lambda: not platform.processes(), "no process of the dead installation is left")
    platform.start()
    all_end_once(platform, api, runs, receiver)


def test_database_killed_with_runs_queued_and_running(platform: Platform, api: Runflow, receiver: Receiver) -> None:
    runs = dispatch_some(api, receiver, e2e_prompts.sleep(2.0))
    postmaster = platform.postmaster()
    assert postmaster is not None
    postmaster.kill()
    # The server is still ready for a moment: until it asks a database that is no longer there.
    until(lambda: platform.postmaster() not in (None, postmaster), "another database in place of the killed one")
    until(platform.ready, "readiness after the database came back")
    all_end_once(platform, api, runs, receiver)


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_leaves_no_process_and_loses_nothing(
    platform: Platform, api: Runflow, receiver: Receiver, number: signal.Signals
) -> None:
    runs = dispatch_some(api, receiver, e2e_prompts.sleep(2.0))
    assert platform.stop(number) == 0, platform.log()
    assert platform.processes() == []
    platform.start()
    all_end_once(platform, api, runs, receiver)


def test_nothing_is_left_of_an_installation_that_was_killed_whole(
    platform: Platform, api: Runflow, receiver: Receiver
) -> None:
    runs = dispatch_held(platform, api, receiver)
    for process in platform.processes():
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    assert platform.process is not None
    platform.process.wait()
    platform.start()
    all_end_once(platform, api, runs, receiver)
