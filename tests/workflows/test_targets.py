"""What a dispatch learns of a workflow, and that it is never stale."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from runflow import errors
from runflow.db.transaction import Transaction
from runflow.graph import InputType
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import public_queries, queries, targets
from runflow.workflows.targets import DispatchTarget, dispatch_target, workflow_id_of
from tests.support.workflow_prompts import body, input_node, plugin_body, prompt

ROUTE = "/v1/comfyui-workflows"


class Looks:
    """Counts how often the database was asked."""

    def __init__(self) -> None:
        self.count = 0
        self.hold: asyncio.Event | None = None


@pytest.fixture
async def caller(client: httpx.AsyncClient, services: Services) -> Principal:
    found = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert found is not None
    return found


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    counted = Looks()
    real = queries.dispatch_row

    async def look(transaction: Transaction, *arguments: Any) -> Any:
        counted.count += 1
        row = await real(transaction, *arguments)
        if counted.hold is not None:
            await counted.hold.wait()
        return row

    monkeypatch.setattr(queries, "dispatch_row", look)
    return counted


@pytest.fixture
async def connected(services: Services) -> None:
    """Wait until hints arrive: before that nothing is remembered."""
    async with asyncio.timeout(60):
        while not services.hub.connected:
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def disconnected(services: Services) -> AsyncIterator[None]:
    services.hub.connected = False
    try:
        yield
    finally:
        services.hub.connected = True


async def made(client: httpx.AsyncClient, sent: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(ROUTE, json=sent)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_target_holds_what_a_run_pins(
    client: httpx.AsyncClient, services: Services, caller: Principal
) -> None:
    record = await made(client, {**plugin_body(), "timeout_seconds": 60})
    target = await dispatch_target(services, caller, caller.org_slug, "my-first-flow")
    assert (str(target.workflow_id), target.org_id, target.owner) == (record["id"], caller.org_id, caller.org_slug)
    assert (target.slug, target.version, target.status_code) == ("my-first-flow", "1", "active")
    assert (target.gpu_class, target.timeout_seconds) == ("auto", 60)
    assert target.resources == record["resources"]
    assert target.fingerprint.startswith("rt1-")
    (spec,) = target.interface.inputs
    assert (spec.name, spec.variable_type_code, spec.comfyui_node_id) == ("prompt", InputType.STRING, "1")
    assert [output.name for output in target.interface.outputs] == ["image"]
    assert await workflow_id_of(services, caller, caller.org_slug, "my-first-flow") == target.workflow_id


async def test_an_explicit_gpu_list_is_the_class(
    client: httpx.AsyncClient, services: Services, caller: Principal
) -> None:
    await made(client, body(slug="gpu", gpu_mode="explicit", gpu_explicit_models=["L40S", "A100"]))
    assert (await dispatch_target(services, caller, caller.org_slug, "gpu")).gpu_class == "L40S,A100"


@pytest.mark.usefixtures("connected")
async def test_it_is_remembered_and_a_patch_is_seen_at_once(
    client: httpx.AsyncClient, services: Services, caller: Principal, looks: Looks
) -> None:
    record = await made(client, body(slug="hot"))
    for _ in range(5):
        await dispatch_target(services, caller, caller.org_slug, "hot")
    assert looks.count == 1
    nodes = prompt(n2=input_node("style"))
    await client.patch(f"{ROUTE}/{record['id']}", json={"workflow_json": nodes, "status_code": "disabled"})
    target = await dispatch_target(services, caller, caller.org_slug, "hot")
    assert (target.version, target.status_code) == ("2", "disabled")
    assert [spec.name for spec in target.interface.inputs] == ["prompt", "style"]


@pytest.mark.usefixtures("connected")
async def test_a_renamed_or_deleted_workflow_is_gone_at_once(
    client: httpx.AsyncClient, services: Services, caller: Principal
) -> None:
    record = await made(client, body(slug="old"))
    await dispatch_target(services, caller, caller.org_slug, "old")
    await client.patch(f"{ROUTE}/{record['id']}", json={"slug": "new"})
    with pytest.raises(errors.WorkflowNotFound):
        await dispatch_target(services, caller, caller.org_slug, "old")
    await dispatch_target(services, caller, caller.org_slug, "new")
    await client.delete(f"{ROUTE}/{record['id']}")
    with pytest.raises(errors.WorkflowNotFound):
        await dispatch_target(services, caller, caller.org_slug, "new")


@pytest.mark.usefixtures("connected")
async def test_a_change_while_it_is_read_is_not_forgotten(
    client: httpx.AsyncClient, services: Services, caller: Principal, looks: Looks
) -> None:
    record = await made(client, body(slug="race"))
    looks.hold = asyncio.Event()
    slow = asyncio.create_task(dispatch_target(services, caller, caller.org_slug, "race"))
    async with asyncio.timeout(60):
        while not looks.count:
            await asyncio.sleep(0.001)
    await client.patch(f"{ROUTE}/{record['id']}", json={"models": {}})
    looks.hold.set()
    before: DispatchTarget = await slow
    assert before.version == "1"
    assert (await dispatch_target(services, caller, caller.org_slug, "race")).version == "2"


@pytest.mark.usefixtures("connected")
async def test_without_hints_every_call_looks(
    client: httpx.AsyncClient, services: Services, caller: Principal, looks: Looks
) -> None:
    await made(client, body(slug="deaf"))
    await dispatch_target(services, caller, caller.org_slug, "deaf")
    async with disconnected(services):
        for _ in range(3):
            await dispatch_target(services, caller, caller.org_slug, "deaf")
    assert looks.count == 4


@pytest.mark.usefixtures("connected")
async def test_an_entry_does_not_live_for_ever(
    client: httpx.AsyncClient, services: Services, caller: Principal, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "REMEMBER_SECONDS", -1.0)
    await made(client, body(slug="brief"))
    for _ in range(2):
        await dispatch_target(services, caller, caller.org_slug, "brief")
    assert looks.count == 2


@pytest.mark.usefixtures("connected")
async def test_memory_is_bounded(
    client: httpx.AsyncClient, services: Services, caller: Principal, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.part(targets._cache), "_most", 0)
    await made(client, body(slug="one"))
    for _ in range(2):
        await dispatch_target(services, caller, caller.org_slug, "one")
    assert looks.count == 2


async def test_what_is_not_the_callers_is_not_found(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, services: Services, caller: Principal
) -> None:
    record = await made(other_client, body(slug="theirs"))
    theirs = record["owner"]
    for owner, slug in ((theirs, "theirs"), (caller.org_slug, "theirs"), (caller.org_slug, "a\0b"), ("a\0", "theirs")):
        with pytest.raises(errors.WorkflowNotFound):
            await dispatch_target(services, caller, owner, slug)


async def is_open(services: Services, caller: Principal, owner: str, slug: str) -> bool:
    try:
        await dispatch_target(services, caller, owner, slug)
    except errors.WorkflowNotFound:
        return False
    return True


@pytest.mark.usefixtures("connected")
async def test_a_public_workflow_of_another_organization_is_remembered_once_for_all(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, services: Services, caller: Principal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    record = await made(other_client, body(slug="theirs", is_public=True))
    counted = 0
    real = public_queries.dispatch_row

    async def look(*arguments: Any) -> Any:
        nonlocal counted
        counted += 1
        return await real(*arguments)

    monkeypatch.setattr(public_queries, "dispatch_row", look)
    for _ in range(3):
        target = await dispatch_target(services, caller, record["owner"], "theirs")
    assert (counted, str(target.org_id), str(target.workflow_id)) == (1, record["org_id"], record["id"])
    stranger = Principal(caller.key_id, UUID(int=7), "stranger", caller.scopes)
    await dispatch_target(services, stranger, record["owner"], "theirs")
    assert counted == 1


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("closing", [{"is_public": False}, {"status_code": "disabled"}, {"slug": "renamed"}, None])
async def test_it_is_gone_at_once_when_it_is_no_longer_open(
    other_client: httpx.AsyncClient, services: Services, caller: Principal, closing: dict[str, Any] | None
) -> None:
    record = await made(other_client, body(slug="theirs"))
    address = f"{ROUTE}/{record['id']}"
    assert not await is_open(services, caller, record["owner"], "theirs")
    await other_client.patch(address, json={"is_public": True})
    assert await is_open(services, caller, record["owner"], "theirs")
    if closing is None:
        await other_client.delete(address)
    else:
        await other_client.patch(address, json=closing)
    assert not await is_open(services, caller, record["owner"], "theirs")


@pytest.mark.usefixtures("connected")
async def test_the_hot_path_of_own_workflows_never_looks_at_public_ones(
    client: httpx.AsyncClient, services: Services, caller: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await made(client, body(slug="mine", is_public=True))

    async def look(*_: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(public_queries, "dispatch_row", look)
    await dispatch_target(services, caller, caller.org_slug, "mine")
    with pytest.raises(errors.WorkflowNotFound):
        await dispatch_target(services, caller, caller.org_slug, "nothing")
