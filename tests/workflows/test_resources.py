"""Resources in both shapes, and the warning about files that no run will get."""

from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow.workflows.resources import Resource, declared

ASSET = "0197f3a0-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    "resources",
    [
        {"a/b.png": {"asset_id": ASSET, "sha256": "00"}},
        [{"path": "a/b.png", "asset_id": ASSET, "sha256": "00"}],
    ],
)
def test_both_shapes(resources: Any) -> None:
    assert declared(resources) == [Resource("a/b.png", UUID(ASSET), "00")]


@pytest.mark.parametrize("resources", [None, {}, [], "text", [3], 7])
def test_nothing_declared(resources: Any) -> None:
    assert declared(resources) == []


def test_a_resource_without_a_good_asset_is_kept_to_be_warned_of() -> None:
    assert declared({"a": {"asset_id": "x"}, "b": 3}) == [Resource("a", None, None), Resource("b", None, None)]


async def test_an_unknown_asset_is_warned_of_at_deploy(client: httpx.AsyncClient) -> None:
    prompt = {"1": {"class_type": "LoadImage", "inputs": {"image": "a/b.png"}}}
    body = {"name": "Resources", "workflow_json": prompt, "resources": {"a/b.png": {"asset_id": ASSET}}}
    made = (await client.post("/v1/comfyui-workflows", json=body)).json()
    assert any("a/b.png" in warning["message"] for warning in made["warnings"])
    again = await client.patch(f"/v1/comfyui-workflows/{made['id']}", json={"resources": body["resources"]})
    assert any("a/b.png" in warning["message"] for warning in again.json()["warnings"])
