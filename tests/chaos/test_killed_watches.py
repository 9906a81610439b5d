"""What `runflow up` itself must not lose: its watches, its home, its worker's name. Few of these need a ComfyUI."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from runflow.client import Runflow
from runflow.ids import new_id
from tests.support import e2e_prompts
from tests.support.platform_fixtures import Platform, give_test_nodes, new_home, remove, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def platform() -> Iterator[Platform]:
    """An installation that was not started yet."""
    made = Platform(new_home(), None)
    yield made
    remove(made)


def passed_on(platform: Platform, words: str) -> bool:
    """Whether the log of `runflow up` has these words."""
    return words in (platform.home / "up.log").read_text(errors="replace")


def _other(platform: Platform, find: str, dead: int) -> bool:
    found: psutil.Process | None = getattr(platform, find)()
    return found is not None and found.pid != dead


def passed(seconds: float, since: float) -> bool:
    return time.monotonic() - since > seconds


def test_a_stderr_that_nobody_reads_ends_no_watch(platform: Platform) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    platform.start(stderr=writer)
    os.close(writer)
    postmaster = platform.postmaster()
    assert postmaster is not None
    postmaster.kill()
    until(lambda: _other(platform, "postmaster", postmaster.pid), "another PostgreSQL")
    until(platform.ready, "readiness with it")
    worker = until(platform.worker, "the worker")
    worker.kill()
    until(lambda: _other(platform, "worker", worker.pid), "another worker")
    assert platform.stop() == 0


def test_a_second_server_on_one_home_is_refused(platform: Platform) -> None:
    platform.start()
    address = platform.home / "server.url"
    worker = until(platform.worker, "the worker")
    second = platform.again()
    assert second.returncode == 1
    assert platform.process is not None
    assert f"is served by process {platform.process.pid} at {platform.url}." in second.stderr
    assert all(json.loads(line)["event"] for line in second.stderr.splitlines())
    assert address.read_text().strip() == platform.url
    assert httpx.get(f"{platform.url}/v1/readiness").status_code == 200
    assert worker.is_running()
    platform.kill()
    platform.start()  # who was killed holds nothing
    assert platform.stop() == 0
    log = (platform.home / "up.log").read_text().splitlines()
    plain = [line for line in log if not line.startswith(("{", "rf_live_"))]
    assert not plain


def test_backup_commands_print_nothing_of_their_own(platform: Platform) -> None:
    platform.start()
    said = platform.database_program("psql", "-Atc", "SELECT 1")
    assert (said.returncode, said.stdout, said.stderr) == (0, "1\n", "")


def test_a_server_that_stood_still_takes_nothing_from_its_workers(platform: Platform) -> None:
    platform.environment, platform.arguments = {"RUNFLOW_LEASE_SECONDS": "3"}, ("--no-worker",)
    platform.start()
    me = {"protocol_version": 1, "instance": str(new_id())}
    headers = {"Authorization": f"Bearer {(platform.home / 'worker.token').read_text().strip()}"}
    with (
        Runflow(platform.url, platform.key()) as api,
        httpx.Client(base_url=f"{platform.url}/v1/worker", headers=headers, timeout=60) as worker,
    ):
        run = api.submit(api.deploy("still", e2e_prompts.sleep(1))["path"], {"colour": 1})
        registered = worker.post("/registrations", json={**me, "name": "box", "status": "ready"}).json()
        me["worker_id"] = registered["worker_id"]
        # Past the grace that it begins with.
        since = time.monotonic()
        until(partial(passed, 5, since), "a grace is over")
        lease = worker.post("/leases", json={**me, "wait_seconds": 20}).json()["lease"]
        assert lease["run_id"] == run["id"]
        for _ in range(3):
            assert worker.post(f"/leases/{lease['id']}/heartbeats", json=me).status_code == 200
            server, since = platform.server(), time.monotonic()
            server.suspend()
            until(partial(passed, 5, since), "longer than a lease")
            server.resume()
        assert worker.post(f"/leases/{lease['id']}/heartbeats", json=me).status_code == 200
        error = {"code": "EXECUTION_FAILED", "stage": "execute", "message": "It broke. Mend it."}
        ended = worker.post(f"/leases/{lease['id']}/completions", json={**me, "result": "failed", "error": error})
        assert ended.status_code == 200
        run = api.get_run(run["id"])
        assert (run["status_code"], run["failure_code"], run["attempt_count"]) == ("failed", "EXECUTION_FAILED", 1)


def test_two_workers_of_one_name_do_not_take_runs_from_each_other(platform: Platform, comfyui_dir: Path) -> None:
    platform.comfyui = comfyui_dir
    give_test_nodes(platform.home)
    platform.start()
    with Runflow(platform.url, platform.key()) as api, httpx.Client(base_url=platform.url) as http:
        http.headers["Authorization"] = f"Bearer {platform.key()}"
        path = api.deploy("name", e2e_prompts.sleep(0.1))["path"]
        first = api.submit(path, {"colour": 0})
        until(lambda: api.get_run(first["id"])["status_code"] == "succeeded", "a run on the local worker")
        home = new_home()
        give_test_nodes(home)
        second = platform.second_worker(home)
        try:
            until(partial(passed_on, platform, "another process works under the name"), "the local worker's end")
            runs = [api.submit(path, {"colour": number}) for number in range(1, 4)]
            for run in runs:
                ended = api.wait(run["id"])
                assert (ended["status_code"], ended["attempt_count"]) == ("succeeded", 1)
            (worker,) = http.get("/v1/workers").json()["items"]
            assert (worker["takeovers"], worker["online"]) == (1, True)
        finally:
            second.kill()
            second.wait()
            shutil.rmtree(home, ignore_errors=True)
        # It comes back as soon as the name is free.
        assert api.wait(api.submit(path, {"colour": 4})["id"])["status_code"] == "succeeded"
