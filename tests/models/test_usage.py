"""Who uses a model: what its record says of workflows and workers, and that it is not deleted from under them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from runflow.models import usage
from runflow.protocol.abilities import ModelFile
from runflow.web.services import Services
from tests.support.able import MakeAble
from tests.support.application import MakeKey, operator_org
from tests.support.deployed import PROMPT
from tests.support.model_uploads import accepting, content, declaration, upload

MINE = "checkpoints/mine.safetensors"


@pytest.fixture
async def caller(services: Services, make_key: MakeKey) -> AsyncIterator[httpx.AsyncClient]:
    async with accepting(services, await make_key()) as client:
        yield client


async def deploy(client: httpx.AsyncClient, name: str, models: Any) -> dict[str, Any]:
    body = {"name": name, "workflow_json": PROMPT, "models": models}
    answer = await client.post("/v1/comfyui-workflows", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def users(client: httpx.AsyncClient, model: dict[str, Any]) -> list[str]:
    """The paths of the workflows that the record names."""
    found = (await client.get(f"/v1/models/{model['id']}", params={"embed": "used_by"})).json()
    assert found["used_by_count"] == len(found["used_by"])
    return [user["path"] for user in found["used_by"]]


async def test_a_record_names_the_workflows_whose_current_version_has_the_model(caller: httpx.AsyncClient) -> None:
    model, other = await upload(caller, content(0.001, 1)), await upload(caller, content(0.001, 2))
    assert (model["used_by"], model["used_by_count"], model["workers"]) == (None, None, None)
    sha256 = model["sha256"]
    by_path = await deploy(caller, "By path", {MINE: {"sha256": sha256.upper()}, "loras/again.pt": {"sha256": sha256}})
    in_array = await deploy(caller, "In array", [{"path": MINE, "sha256": sha256, "note": "NUL: \0"}])
    await deploy(caller, "Neither", {"vae/other.pt": {"url": f"https://example.com/{sha256}"}})
    listed = (await caller.get("/v1/models", params={"embed": "used_by"})).json()["items"]
    assert {row["id"]: row["used_by"] for row in listed} == {
        model["id"]: [{"id": made["id"], "path": made["path"]} for made in (by_path, in_array)],
        other["id"]: [],
    }
    assert {row["workers"] for row in listed} == {None}
    plain = (await caller.get("/v1/models", params={"fields": "id", "embed": "used_by"})).json()["items"][0]
    assert plain.keys() == {"id", "used_by"}
    # Only what the next run would need counts.
    changed = await caller.patch(f"/v1/comfyui-workflows/{by_path['id']}", json={"models": {}})
    assert changed.status_code == 200 and await users(caller, model) == [in_array["path"]]
    assert (await caller.delete(f"/v1/comfyui-workflows/{in_array['id']}")).is_success
    assert await users(caller, model) == []


async def test_a_record_names_the_workflows_that_take_it_from_a_cache(caller: httpx.AsyncClient) -> None:
    model = await upload(caller, content(0.001, 4))
    checkpoint = {"name": "sam.pth", "sha256": model["sha256"]}
    body = {
        "name": "From a cache",
        "workflow_json": PROMPT,
        "environment": {"note": "NUL: \0", "cached_models": {"pytorch": [checkpoint]}},
    }
    made = await caller.post("/v1/comfyui-workflows", json=body)
    assert made.status_code == 201, made.text
    assert await users(caller, model) == [made.json()["path"]]
    assert (await caller.delete(f"/v1/models/{model['id']}")).status_code == 409


async def test_another_organization_s_workflows_are_not_told(
    services: Services, caller: httpx.AsyncClient, make_key: MakeKey
) -> None:
    data = content(0.001, 3)
    model = await upload(caller, data)
    async with accepting(services, await make_key()) as other:
        theirs = await upload(other, data)
        made = await deploy(other, "Theirs", {MINE: {"sha256": theirs["sha256"]}})
        assert await users(other, theirs) == [made["path"]]
    assert await users(caller, model) == []
    assert (await caller.delete(f"/v1/models/{model['id']}")).status_code == 204


async def test_only_so_many_users_are_named(caller: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MOST_NAMED", 2)
    model = await upload(caller, content(0.001, 4))
    made = [await deploy(caller, f"User {number}", {MINE: {"sha256": model["sha256"]}}) for number in range(3)]
    found = (await caller.get(f"/v1/models/{model['id']}", params={"embed": "used_by"})).json()
    assert [user["path"] for user in found["used_by"]] == [one["path"] for one in made[:2]]
    assert found["used_by_count"] == 3


async def test_a_model_in_use_is_deleted_only_by_force(caller: httpx.AsyncClient) -> None:
    model = await upload(caller, content(0.001, 5))
    manifest = {MINE: {"sha256": model["sha256"]}}
    paths = [(await deploy(caller, f"User {number}", manifest))["path"] for number in range(6)]
    address = f"/v1/models/{model['id']}"
    refused = await caller.delete(address)
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFLICT")
    message = refused.json()["message"]
    assert ", ".join(paths[:5]) + " and 1 more" in message and "force=true" in message
    assert (await caller.delete(address, params={"force": "false"})).status_code == 409
    assert (await caller.delete(address, params={"force": "true"})).status_code == 204
    assert (await caller.delete(address, params={"force": "true"})).status_code == 404
    events = (await caller.get("/v1/audit-events", params={"q": f"target_id:{model['id']}"})).json()["items"]
    assert [event["action_code"] for event in events] == ["model.deleted", "model.created"]


async def test_workers_that_have_a_model_are_named_to_the_operator(
    services: Services, make_key: MakeKey, able: MakeAble
) -> None:
    data = content(0.001, 6)
    sha256 = declaration(data)["sha256"]
    has = [await able(models=[ModelFile(path=MINE, sha256=sha256), ModelFile(path="vae/a.pt")]) for _ in range(2)]
    await able(models=[ModelFile(path=MINE)])
    org = await operator_org(services)
    async with accepting(services, await make_key(org=org)) as operator:
        model = await upload(operator, data)
        address, params = f"/v1/models/{model['id']}", {"embed": "used_by,workers"}
        found = (await operator.get(address, params=params)).json()
        listed = (await operator.get("/v1/models", params={**params, "q": f"id:{model['id']}"})).json()["items"]
        async with services.db.system() as transaction:
            values = {"name": has[0].name}
            await transaction.run(
                "UPDATE workers SET last_seen_at = now() - interval '1 hour' WHERE name = %(name)s", values
            )
        later = (await operator.get(address, params=params)).json()
        scopes = ("comfyui-workflows:read",)
        async with accepting(services, await make_key(org=org, scopes=scopes)) as reader:
            unscoped = (await reader.get(address, params=params)).json()
        assert (await operator.delete(address)).status_code == 204
    assert (found["workers"], found["used_by"]) == (sorted(worker.name for worker in has), [])
    assert listed == [found]
    assert later["workers"] == [has[1].name], "only of those that are connected"
    assert unscoped == {**later, "workers": None}, "it may not list workers"


async def test_workers_are_not_named_to_other_organizations(caller: httpx.AsyncClient, able: MakeAble) -> None:
    model = await upload(caller, content(0.001, 7))
    await able(models=[ModelFile(path=MINE, sha256=model["sha256"])])
    answer = await caller.get("/v1/models", params={"embed": "workers"})
    assert (answer.status_code, [row["workers"] for row in answer.json()["items"]]) == (200, [None])


async def test_what_is_no_id_is_refused(caller: httpx.AsyncClient) -> None:
    for method in ("GET", "DELETE"):
        answer = await caller.request(method, "/v1/models/mine.safetensors")
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["path", "id"])
    unknown = await caller.get("/v1/models", params={"embed": "creator"})
    assert (unknown.status_code, unknown.json()["code"]) == (400, "INVALID_FIELD")
