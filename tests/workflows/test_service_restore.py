"""Undoing the deletion of a workflow."""

from typing import Any

import httpx
import pytest

from tests.support.workflow_calls import NOWHERE, ROUTE, created
from tests.support.workflow_prompts import body, plugin_body


@pytest.fixture
async def gone(client: httpx.AsyncClient) -> dict[str, Any]:
    made = await created(client, {**plugin_body(), **NOWHERE})
    assert (await client.delete(f"{ROUTE}/{made['id']}")).status_code == 204
    return made


async def restored(client: httpx.AsyncClient, made: dict[str, Any], **sent: Any) -> httpx.Response:
    return await client.post(f"{ROUTE}/{made['id']}/restorations", json=sent or None)


async def test_it_is_there_again_as_it_was(client: httpx.AsyncClient, gone: dict[str, Any]) -> None:
    answer = await restored(client, gone)
    assert answer.status_code == 201, answer.text
    back = answer.json()
    assert {**back, "updated_at": ""} == {
        **{name: value for name, value in gone.items() if name not in ("warnings", "can_run")},
        "updated_at": "",
    }
    assert (await client.get(f"{ROUTE}/{gone['path']}")).json() == back
    assert [item["id"] for item in (await client.get(ROUTE)).json()["items"]] == [gone["id"]]
    run = await client.post(f"{ROUTE}/{gone['path']}/runs", json={"input": {"prompt": "a"}})
    assert run.status_code == 201


async def test_doing_it_again_changes_nothing(client: httpx.AsyncClient, gone: dict[str, Any]) -> None:
    first = (await restored(client, gone)).json()
    again = await restored(client, gone, slug="other")
    assert (again.status_code, again.json()) == (200, first)


async def test_a_taken_slug_is_a_conflict_with_a_way_out(client: httpx.AsyncClient, gone: dict[str, Any]) -> None:
    await created(client, body("New", slug=gone["slug"]))
    answer = await restored(client, gone)
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert f"{gone['slug']}-2" in answer.json()["message"]
    assert (await client.get(f"{ROUTE}/{gone['id']}")).json()["deleted_at"] is not None
    answer = await restored(client, gone, slug=f"{gone['slug']}-2")
    assert (answer.status_code, answer.json()["slug"]) == (201, f"{gone['slug']}-2")


async def test_bad_slugs_and_bodies(client: httpx.AsyncClient, gone: dict[str, Any]) -> None:
    for sent in ({"slug": "versions"}, {"slug": "A b"}, {"slug": 5}, {"name": "x"}):
        assert (await restored(client, gone, **sent)).status_code == 422


async def test_what_is_not_the_callers_is_not_found(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, gone: dict[str, Any]
) -> None:
    for caller, made in ((other_client, gone), (client, {"id": "0197f3a0-0000-7000-8000-000000000001"})):
        answer = await restored(caller, made)
        assert (answer.status_code, answer.json()["code"]) == (404, "COMFYUI_WORKFLOW_NOT_FOUND")
