"""kill -9 of everything while a new version is tested: it serves once its examples passed, and each ran once."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.client import Runflow
from tests.support import e2e_prompts
from tests.support.platform_fixtures import Platform, Receiver, installation, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

EXAMPLES = 3


@pytest.fixture(scope="module")
def platform(comfyui_dir: Path) -> Iterator[Platform]:
    with installation(comfyui_dir, environment={"RUNFLOW_LEASE_SECONDS": "4"}) as started:
        yield started


def succeeded(found: dict[str, Any]) -> int:
    return sum(one["status_code"] == "succeeded" for one in found["examples"])


def test_everything_is_killed_while_versions_are_tested(platform: Platform, receiver: Receiver) -> None:
    key = platform.key()
    with Runflow(platform.url, key) as api, httpx.Client(base_url=platform.url, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {key}"
        hook = {"url": receiver.url, "event_subscriptions": ["golden_run.passed", "golden_run.failed"]}
        assert http.post("/v1/webhooks", json=hook).status_code == 201
        workflow = api.deploy("tested", e2e_prompts.sleep(0.05))
        for number in range(EXAMPLES):
            api.keep_example(workflow, f"e{number}", {"colour": number})

        def killed(number: int, at: Callable[[dict[str, Any]], bool]) -> str:
            """Deploy a version, kill everything at that point of its test, and return the golden run's id."""
            made = api.deploy("tested", e2e_prompts.sleep(0.2 + number / 100), golden=True)
            golden = str(made["golden_run"]["id"])
            assert made["version"] == str(number - 1)
            until(lambda: at(api.golden_run(workflow, golden)), "the moment to kill at")
            platform.kill()
            until(lambda: not platform.processes(), "no process of the dead installation is left")
            platform.start()
            return golden

        def ended(number: int, golden: str) -> bool:
            """Tell whether it has ended; one record never says that it passed while the old version serves."""
            read = api.get_workflow(workflow["id"])
            has_passed = read["golden_run"]["status_code"] == "passed"
            assert read["version"] == str(number if has_passed else number - 1), read
            run = api.submit(workflow["path"], {"colour": 9})
            assert run["target_version"] in (str(number - 1), str(number))
            return str(api.golden_run(workflow, golden)["status_code"]) != "running"

        moments: list[Callable[[dict[str, Any]], bool]] = [
            lambda found: any(one["run_id"] for one in found["examples"]),
            lambda found: succeeded(found) == 1,
            lambda found: succeeded(found) == EXAMPLES,
        ]
        tested = []
        for number, moment in enumerate(moments, start=2):
            tested.append(killed(number, moment))
            until(partial(ended, number, tested[-1]), "the golden run has ended", 300)
        for number, golden in enumerate(tested, start=2):
            found = api.golden_run(workflow, golden)
            assert (found["status_code"], found["version"], succeeded(found)) == ("passed", str(number), EXAMPLES)
            # Each example was run once: what was dispatched before the kill is what was judged after it.
            runs = [one for one in api.runs(q="source_code:golden") if one["metadata"]["golden_run_id"] == golden]
            assert sorted(run["id"] for run in runs) == sorted(one["run_id"] for one in found["examples"])
        assert api.get_workflow(workflow["id"])["version"] == str(len(tested) + 1)
        until(lambda: {one["golden_run_id"] for one in receiver.bodies} >= {*tested}, "every message")
        assert {one["event"] for one in receiver.bodies} == {"golden_run.passed"}
