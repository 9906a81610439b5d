import dataclasses
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from runflow import errors
from runflow.assets.service import store_data_uri
from runflow.web.auth import Principal
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client, operator_org


def limited(services: Services, **limits: Any) -> Services:
    return dataclasses.replace(services, settings=services.settings.model_copy(update=limits))


def refused(answer: httpx.Response, setting: str) -> None:
    assert answer.status_code == 409, answer.text
    assert answer.json()["code"] == "LIMIT_REACHED"
    assert setting in answer.json()["message"]


BODIES: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "max_members": ("/v1/organizations/{org}/members", lambda n: {"email": f"m{n}@example.com"}),
    "max_asset_folders": ("/v1/asset-folders", lambda n: {"name": f"f{n}"}),
    "max_webhooks": ("/v1/webhooks", lambda n: {"url": f"https://h{n}.example/"}),
    "max_api_keys": ("/v1/api-keys", lambda n: {"name": f"k{n}"}),
}


@pytest.mark.parametrize("setting", BODIES)
async def test_an_organization_has_so_many_and_no_more(setting: str, services: Services, make_key: MakeKey) -> None:
    path, body = BODIES[setting]
    org = await new_org(services)
    key = await make_key(org=org)
    async with open_client(limited(services, **{setting: 2}), key) as client:
        own = 1 if setting == "max_api_keys" else 0  # the client's own key is one
        made = [(await client.post(path.format(org=org), json=body(n))).raise_for_status() for n in range(own, 2)]
        refused(await client.post(path.format(org=org), json=body(2)), f"RUNFLOW_{setting.upper()}")
        (await client.delete(f"{path.format(org=org)}/{made[0].json()['id']}")).raise_for_status()
        assert (await client.post(path.format(org=org), json=body(3))).status_code == 201
    async with open_client(limited(services, **{setting: 2}), await make_key(org=await new_org(services))) as other:
        if setting != "max_members":
            assert (await other.post(path, json=body(0))).status_code == 201, "each organization has its own"


async def test_callers_make_only_so_many_organizations(services: Services, make_key: MakeKey) -> None:
    key = await make_key(org=await operator_org(services))
    async with open_client(limited(services, max_organizations=1), key) as client:
        answer = await client.post("/v1/organizations", json={"name": "One too many"})
        refused(answer, "RUNFLOW_MAX_ORGANIZATIONS")
        events = (await client.get("/v1/audit-events?q=action_code:organization.created")).json()["items"]
        assert all(event["details"]["name"] != "One too many" for event in events)


async def test_an_organization_stores_so_much_and_no_more(services: Services, make_key: MakeKey) -> None:
    key = await make_key(org=await new_org(services))
    services = limited(services, max_stored_bytes=1000, accept_models=True)

    async def declare(client: httpx.AsyncClient, size: int) -> httpx.Response:
        body = {"filename": "a.bin", "mime_type": "application/octet-stream", "size_bytes": size}
        return await client.post("/v1/asset-uploads", json=body)

    async with open_client(services, key) as client:
        session = (await declare(client, 600)).json()
        refused(await declare(client, 401), "RUNFLOW_MAX_STORED_BYTES")
        kind = {"Content-Type": "application/octet-stream"}
        (await client.put(session["upload_url"], content=bytes(600), headers=kind)).raise_for_status()
        asset = await client.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations")
        assert asset.status_code == 201, asset.text
        model = {"sha256": "0" * 64, "size_bytes": 400, "filename": "m.safetensors"}
        refused(await client.post("/v1/model-uploads", json={**model, "size_bytes": 401}), "RUNFLOW_MAX_STORED_BYTES")
        assert (await client.post("/v1/model-uploads", json=model)).status_code == 201
        assert (await client.post("/v1/model-uploads", json=model)).status_code == 201, "a session that is open goes on"
        refused(await declare(client, 1), "RUNFLOW_MAX_STORED_BYTES")
    async with open_client(services, await make_key(org=await new_org(services))) as other:
        assert (await declare(other, 1000)).status_code == 201


async def test_an_inline_file_counts_too(services: Services, make_key: MakeKey) -> None:
    principal = await services.authenticator.principal(await make_key(org=await new_org(services)))
    assert isinstance(principal, Principal)
    before = [key async for key in services.storage.list("assets")]
    with pytest.raises(errors.LimitReached):
        await store_data_uri(limited(services, max_stored_bytes=3), principal, "data:text/plain,four", "x")
    assert [key async for key in services.storage.list("assets")] == before
    await store_data_uri(limited(services, max_stored_bytes=4), principal, "data:text/plain,four", "x")
