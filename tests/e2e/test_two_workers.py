"""Two workers, each with a real ComfyUI: runs go where what they need is, and none is lost."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from runflow.client import Runflow
from tests.support import e2e_prompts
from tests.support.platform_fixtures import Platform, installation, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

RUNS = 100
WITHOUT = "without-the-pack"


@pytest.fixture
def having(comfyui_dir: Path) -> Iterator[Platform]:
    """An installation whose own worker has the test nodes."""
    with installation(comfyui_dir) as started:
        yield started


@pytest.fixture
def http(having: Platform) -> Iterator[httpx.Client]:
    """A client with every right."""
    headers = {"Authorization": f"Bearer {having.key()}"}
    with httpx.Client(base_url=f"{having.url}/v1", headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def lacking(having: Platform) -> Iterator[str]:
    """A second worker, with the same ComfyUI and no test nodes; its id."""
    with having.joined(WITHOUT):
        yield WITHOUT


def by_name(http: httpx.Client) -> dict[str, str]:
    """Return the ids of the workers that are ready."""
    listed = http.get("/workers").json()["items"]
    return {one["name"]: one["id"] for one in listed if one["online"] and one["status_code"] == "ready"}


def test_runs_go_to_the_worker_that_has_their_pack_and_the_other_one_does_others(
    having: Platform, lacking: str, http: httpx.Client
) -> None:
    workers = until(lambda: len(by_name(http)) == 2 and by_name(http), "two workers with engines")
    without = workers.pop(lacking)
    with Runflow(having.url, http.headers["Authorization"].removeprefix("Bearer ")) as api:
        needing = api.deploy("needs-the-pack", e2e_prompts.sleep(0.01))
        anywhere = api.deploy("needs-nothing", e2e_prompts.tint())["path"]
        runtime = http.get(f"/comfyui-workflows/{needing['id']}/runtime").json()
        runs = [api.submit(needing["path"], {"colour": number})["id"] for number in range(RUNS)]
        others = [api.submit(anywhere, {"colour": number})["id"] for number in range(5)]
        ended = [api.wait(run, timeout=600) for run in (*runs, *others)]
    assert {run["status_code"] for run in ended} == {"succeeded"}
    assert "TestSleep" in str(runtime) and lacking in str(runtime), "it is said what the other one lacks"
    by_worker: dict[str, list[str]] = {}
    for run in (*runs, *others):
        (attempt,) = http.get(f"/runs/{run}/attempts").json()["items"]
        by_worker.setdefault(attempt["worker_id"], []).append(run)
    assert set(runs) <= set(by_worker[next(iter(workers.values()))])
    assert set(by_worker.get(without, [])) <= set(others)
