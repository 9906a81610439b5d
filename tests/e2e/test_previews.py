"""What a node of a real ComfyUI shows while it works reaches whoever follows the run."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest
from PIL import Image

from tests.support import e2e_prompts
from tests.support.platform_fixtures import Platform

pytestmark = pytest.mark.e2e


@pytest.fixture
def http(platform: Platform, platform_key: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {platform_key}"}
    with httpx.Client(base_url=platform.url, headers=headers, timeout=120) as client:
        yield client


def events(http: httpx.Client, run_id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with http.stream("GET", f"/v1/runs/{run_id}/events", params={"previews": "true"}) as answer:
        assert answer.status_code == 200, answer.read()
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, orjson.loads(line.removeprefix("data: "))


def test_a_picture_of_the_running_node_is_seen(http: httpx.Client) -> None:
    deployed = http.post("/v1/comfyui-workflows", json={"name": "Show", "workflow_json": e2e_prompts.show()}).json()
    run = http.post(f"/v1/comfyui-workflows/{deployed['path']}/runs", json={"input": {"colour": 200}}).json()
    shown = next(data for kind, data in events(http, run["id"]) if kind == "preview")
    assert (shown["node_id"], shown["node_type"], shown["content_type"]) == ("2", "TestShow", "image/jpeg")
    picture = Image.open(io.BytesIO(base64.b64decode(shown["image"].partition(",")[2])))
    assert picture.size == (64, 48)
    http.post(f"/v1/runs/{run['id']}/cancellation")
    assert [data["status_code"] for kind, data in events(http, run["id"]) if kind == "status"][-1] == "cancelled"
