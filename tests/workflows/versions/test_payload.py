"""What a lease gets of a version, from memory within a bound."""

from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from runflow.graph import Interface
from runflow.ids import new_id
from runflow.web.responses import dumps
from runflow.web.services import Services
from runflow.workflows.versions.payload import VersionMemory, version_payload
from tests.support.workflow_prompts import body, plugin_body

ROUTE = "/v1/comfyui-workflows"


async def version_of(client: httpx.AsyncClient, sent: dict[str, Any]) -> UUID:
    made = (await client.post(ROUTE, json=sent)).json()
    found = (await client.get(f"{ROUTE}/{made['id']}?embed=versions")).json()
    return UUID(found["versions"][0]["id"])


async def test_a_lease_gets_the_documents_as_they_were_sent(client: httpx.AsyncClient, services: Services) -> None:
    sent = plugin_body()
    version_id = await version_of(client, sent)
    for _ in range(2):
        async with services.db.system() as transaction:
            payload = await version_payload(transaction, version_id)
        assert (payload.version_id, payload.number) == (version_id, 1)
        for name in ("workflow_json", "environment", "models", "custom_nodes"):
            assert orjson.loads(dumps({"document": getattr(payload, name)}))["document"] == sent[name]
        assert payload.resources == sent["resources"]
        assert [spec.name for spec in Interface.from_dict(payload.interface).inputs] == ["prompt"]
        assert payload.fingerprint.startswith("rt1-")


async def test_what_was_never_sent_is_empty(client: httpx.AsyncClient, services: Services) -> None:
    version_id = await version_of(client, body())
    async with services.db.system() as transaction:
        payload = await version_payload(transaction, version_id)
    manifest = [payload.environment, payload.models, payload.custom_nodes]
    assert orjson.loads(dumps(manifest)) == [{}, {}, {}]
    assert payload.resources is None


async def test_validators_are_frozen_with_the_interface(client: httpx.AsyncClient, services: Services) -> None:
    stated = {"name": "prompt", "validator_code": "length", "validator_attrs": {"max": 5}}
    version_id = await version_of(client, body(inputs=[stated]))
    async with services.db.system() as transaction:
        payload = await version_payload(transaction, version_id)
    (frozen,) = payload.interface["inputs"]
    assert (frozen["validator_code"], frozen["validator_attrs"]) == ("length", {"max": 5})


async def test_an_unknown_version_is_a_lookup_error(services: Services) -> None:
    async with services.db.system() as transaction:
        with pytest.raises(LookupError):
            await version_payload(transaction, new_id())


async def test_memory_keeps_the_last_used_within_its_bound(client: httpx.AsyncClient, services: Services) -> None:
    ids = [await version_of(client, body(f"flow {number}")) for number in range(3)]
    async with services.db.system() as transaction:
        size = (await version_payload(transaction, ids[0])).size
        memory = VersionMemory(max_bytes=2 * size + size // 2)
        first = await memory.get(transaction, ids[0])
        second = await memory.get(transaction, ids[1])
        assert await memory.get(transaction, ids[0]) is first
        await memory.get(transaction, ids[2])
        assert await memory.get(transaction, ids[0]) is first
        assert await memory.get(transaction, ids[1]) is not second
        tiny = VersionMemory(max_bytes=1)
        assert await tiny.get(transaction, ids[0]) is not await tiny.get(transaction, ids[0])
