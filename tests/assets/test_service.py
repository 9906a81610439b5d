import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from runflow import errors
from runflow.assets import queries, service
from runflow.web.auth import Principal
from runflow.web.services import Services
from tests.support.uploading import picture, upload


@pytest.fixture
async def caller(client: httpx.AsyncClient, services: Services) -> AsyncIterator[Principal]:
    found = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert found is not None
    yield found


def data_uri(content: bytes, mime_type: str = "image/png") -> str:
    return f"data:{mime_type};base64,{base64.b64encode(content).decode()}"


async def test_a_data_uri_becomes_an_asset(client: httpx.AsyncClient, services: Services, caller: Principal) -> None:
    content = picture()
    asset_id = await service.store_data_uri(services, caller, data_uri(content), "my input")
    asset = (await client.get(f"/v1/assets/{asset_id}")).json()
    assert (asset["name"], asset["mime_type"], asset["size_bytes"]) == ("my input.png", "image/png", len(content))
    assert asset["source_type"] == "data_uri"
    assert (await client.get(asset["url"])).content == content
    async with services.db.tenant(caller.org_id) as transaction:
        assert (await service.resolve(transaction, {asset_id}))[asset_id].sha256


@pytest.mark.parametrize(
    "uri", [data_uri(b"no image"), data_uri(bytes(1024 * 1024 + 1), "a/b"), "data:image/png;base64,!", "nonsense"]
)
async def test_a_bad_data_uri_leaves_nothing(services: Services, caller: Principal, uri: str) -> None:
    before = {key async for key in services.storage.list("assets")}
    with pytest.raises(errors.ValidationFailed):
        await service.store_data_uri(services, caller, uri, "x")
    assert {key async for key in services.storage.list("assets")} == before


async def test_a_failing_database_leaves_no_bytes(
    services: Services, caller: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr(queries, "add_asset", failing)
    before = {key async for key in services.storage.list("assets")}
    with pytest.raises(RuntimeError):
        await service.store_data_uri(services, caller, data_uri(picture()), "x")
    assert {key async for key in services.storage.list("assets")} == before


async def test_resolving_sees_only_ones_own(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, services: Services, caller: Principal
) -> None:
    foreign = await upload(other_client, picture())
    own = await service.store_data_uri(services, caller, data_uri(picture()), "x")
    async with services.db.tenant(caller.org_id) as transaction:
        assert set(await service.resolve(transaction, [own, UUID(foreign["id"]), uuid4()])) == {own}
        assert await service.resolve(transaction, []) == {}
