"""kill -9 of the server while it judges: after the restart every evaluation ends once, and is told once."""

import base64
import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from tests.support import picture_corpus
from tests.support.platform_fixtures import Platform, Receiver, installation, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with installation(None, environment={"RUNFLOW_LEASE_SECONDS": "3"}, arguments=("--no-worker",)) as started:
        yield started


def judging_processes(platform: Platform) -> list[psutil.Process]:
    """Find them as children: their environment does not name the installation."""
    children = platform.server().children(recursive=True)
    return [child for child in children if "runflow.evaluations.judges.process" in child.cmdline()]


def held(platform: Platform, states: Callable[[], list[str]], more: Callable[[], None]) -> bool:
    """Whether an evaluation is running and stays so: the processes that judge are stopped wherever they are."""
    children = judging_processes(platform)
    for child in children:
        child.suspend()
    now = states()
    if set(now) == {"completed"}:  # faster than we looked
        more()
    return bool(children) and "running" in now


def test_the_server_is_killed_in_mid_evaluation(platform: Platform, receiver: Receiver) -> None:
    file = io.BytesIO()
    picture_corpus.good("portrait", 1, 512, 512).save(file, "JPEG", quality=90)
    image = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    with httpx.Client(base_url=platform.url, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {platform.key()}"
        body = {"generated_image_url": image, "task_type": "x", "callback_url": receiver.url}
        made: list[str] = []

        def more() -> None:
            made.append(http.post("/v1/evaluations", json=body).raise_for_status().json()["id"])

        def states() -> list[str]:
            return [http.get(f"/v1/evaluations/{one}").json()["status_code"] for one in made]

        for _ in range(6):
            more()
        until(lambda: held(platform, states, more), "an evaluation is held while it runs")
        judging = judging_processes(platform)
        platform.kill()
        until(lambda: not platform.processes(), "no process of the dead installation is left")
        for child in judging:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.resume()
        until(lambda: not any(child.is_running() for child in judging), "no judging process is left")
        platform.start()
        until(lambda: set(states()) == {"completed"}, "every evaluation has ended")
        for one in made:
            judges = http.get(f"/v1/evaluations/{one}?embed=judges").json()["judges"]
            assert len(judges) == len({judge["name"] for judge in judges}) == 4
    until(lambda: len(receiver.bodies) >= len(made), "every callback")
    assert sorted(body["evaluation_id"] for body in receiver.bodies) == sorted(made)


def test_the_judging_process_is_killed_in_mid_evaluation(platform: Platform) -> None:
    file = io.BytesIO()
    Image.effect_noise((1200, 1200), 60).convert("RGB").save(file, "JPEG", quality=15)
    image = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
    with httpx.Client(base_url=platform.url, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {platform.key()}"
        body = {"generated_image_url": image, "task_type": "x"}
        made: list[str] = []

        def more() -> None:
            made.append(http.post("/v1/evaluations", json=body).raise_for_status().json()["id"])

        def last() -> dict[str, Any]:
            found: dict[str, Any] = http.get(f"/v1/evaluations/{made[-1]}").json()
            return found

        more()
        until(lambda: held(platform, lambda: [last()["status_code"]], more), "the evaluation is held while it runs")
        for child in judging_processes(platform):
            child.kill()
        until(lambda: last()["status_code"] == "completed", "the verdict")
        assert last()["overall_passed"] is not None and platform.ready()
