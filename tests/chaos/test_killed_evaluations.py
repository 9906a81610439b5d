"""kill -9 of the server while it judges: after the restart every evaluation ends once, and is told once."""

import base64
import io
from collections.abc import Iterator

import httpx
import psutil
import pytest
from PIL import Image

from tests.evaluations import corpus
from tests.platform_fixtures import Platform, Receiver, installation, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with installation(None, environment={"RUNFLOW_LEASE_SECONDS": "3"}, arguments=("--no-worker",)) as started:
        yield started


def judging_processes(platform: Platform) -> list[psutil.Process]:
    """Find them as children: their environment does not name the installation."""
    children = platform.server().children(recursive=True)
    return [child for child in children if "runflow.evaluations.judges.process" in child.cmdline()]


def test_the_server_is_killed_in_mid_evaluation(platform: Platform, receiver: Receiver) -> None:
    held = io.BytesIO()
    corpus.good("portrait", 1, 512, 512).save(held, "JPEG", quality=90)
    image = f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"
    with httpx.Client(base_url=platform.url, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {platform.key()}"
        body = {"generated_image_url": image, "task_type": "x", "callback_url": receiver.url}
        made = [http.post("/v1/evaluations", json=body).raise_for_status().json()["id"] for _ in range(6)]

        def states() -> list[str]:
            return [http.get(f"/v1/evaluations/{one}").json()["status_code"] for one in made]

        def running() -> bool:
            now = states()
            if set(now) == {"completed"}:  # faster than we looked: one more
                made.append(http.post("/v1/evaluations", json=body).raise_for_status().json()["id"])
            return "running" in now

        until(running, "an evaluation is running")
        judging = judging_processes(platform)
        platform.kill()
        until(lambda: not platform.processes(), "no process of the dead installation is left")
        until(lambda: not any(child.is_running() for child in judging), "no judging process is left")
        platform.start()
        until(lambda: set(states()) == {"completed"}, "every evaluation has ended")
        for one in made:
            judges = http.get(f"/v1/evaluations/{one}?embed=judges").json()["judges"]
            assert len(judges) == len({judge["name"] for judge in judges}) == 4
    until(lambda: len(receiver.bodies) >= len(made), "every callback")
    assert sorted(body["evaluation_id"] for body in receiver.bodies) == sorted(made)


def test_the_judging_process_is_killed_in_mid_evaluation(platform: Platform) -> None:
    held = io.BytesIO()
    Image.effect_noise((1200, 1200), 60).convert("RGB").save(held, "JPEG", quality=15)
    image = f"data:image/jpeg;base64,{base64.b64encode(held.getvalue()).decode()}"
    with httpx.Client(base_url=platform.url, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {platform.key()}"
        body = {"generated_image_url": image, "task_type": "x"}
        made = http.post("/v1/evaluations", json=body).raise_for_status().json()["id"]
        for child in until(lambda: judging_processes(platform), "the judging process"):
            child.kill()
        found = until(
            lambda: (one := http.get(f"/v1/evaluations/{made}").json())["status_code"] == "completed" and one,
            "the verdict",
            120,
        )
    assert found["overall_passed"] is not None and platform.ready()
