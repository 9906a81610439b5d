"""Budgets: dispatch stops when one is used up, and nothing else does."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest
from psycopg.errors import InsufficientPrivilege

from runflow.billing import budget, grants, queries
from runflow.billing.settlement import meter
from runflow.queue import completion
from runflow.web.services import Services
from tests.support.application import MakeKey, open_client
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.priced_runs import Execute
from tests.support.waiting import until


@pytest.fixture
async def org(client: httpx.AsyncClient, services: Services) -> UUID:
    principal = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert principal is not None
    return principal.org_id


async def grant(services: Services, org: UUID, **amounts: str) -> None:
    given = {name: Decimal(amounts[name]) if name in amounts else None for name in ("monthly", "credit")}
    async with services.db.system() as transaction:
        await grants.grant(transaction, org, **given)
    services.hub.publish("budget", str(org))


async def recount(services: Services, org: UUID) -> dict[str, Any]:
    """What `runflow budget set` does after it has granted."""
    async with services.db.system() as transaction:
        return await grants.recount(transaction, org)


async def test_the_first_budget_counts_a_run_that_was_just_being_completed(
    services: Services,
    org: UUID,
    priced: Deployed,
    worker: Worker,
    dispatch: Dispatch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    looked, go_on = asyncio.Event(), asyncio.Event()

    async def held_up(*arguments: Any) -> Any:
        looked.set()
        await go_on.wait()
        return await meter(*arguments)

    monkeypatch.setattr(completion, "meter", held_up)
    waits, older_are_under_way = asyncio.Event(), queries.older_are_under_way

    async def look(transaction: Any) -> bool:
        if older := await older_are_under_way(transaction):
            waits.set()
        return older

    monkeypatch.setattr(queries, "older_are_under_way", look)
    output = await worker.upload(lease)
    completing = asyncio.create_task(worker.complete(lease, outputs=[output], timings={"execute_ms": 3000}))
    async with asyncio.timeout(60):
        await looked.wait()  # it has seen that there is no budget
        await grant(services, org, monthly="1")
        recounting = asyncio.create_task(recount(services, org))
        await until(lambda: waits.is_set() or recounting.done())
        go_on.set()
        assert (await completing).json()["status_code"] == "succeeded"
        found = await recounting
    assert (found["month_spent"], found["balance"]) == (Decimal("0.003"), Decimal("0.997"))


async def balance(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/v1/billing/balance")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def try_dispatch(client: httpx.AsyncClient, workflow: Deployed) -> httpx.Response:
    return await client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "an otter"}})


async def test_without_a_budget_there_is_no_balance_and_no_limit(
    execute: Execute, client: httpx.AsyncClient, org: UUID
) -> None:
    await execute(execute_ms=10**8)
    found = await balance(client)
    assert (found["id"], found["org_id"], found["currency"]) == (str(org), str(org), "USD")
    assert (found["balance"], found["balance_cents"], found["has_budget"]) == (None, None, False)
    await execute(execute_ms=1)
    listed = (await client.get("/v1/credit-balances")).json()
    assert listed == {"items": [{"org_id": str(org), "balance": None, "balance_usd": None, "currency": "USD"}]}


async def test_a_used_up_credit_stops_dispatch_and_says_how_to_go_on(
    execute: Execute,
    services: Services,
    client: httpx.AsyncClient,
    org: UUID,
    priced: Deployed,
    worker: Worker,
    dispatch: Dispatch,
) -> None:
    await grant(services, org, credit="0.005")
    queued = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.complete(lease, outputs=[await worker.upload(lease)], timings={"execute_ms": 3000})
    found = await balance(client)
    assert (found["balance"], found["balance_cents"], found["credit"], found["credit_spent"]) == (
        "0.002000",
        0,
        "0.005000",
        "0.003000",
    )
    waiting = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    behind = await dispatch()
    await worker.complete(lease, outputs=[await worker.upload(lease)], timings={"execute_ms": 3000})

    answer = await try_dispatch(client, priced)
    assert (answer.status_code, answer.json()["code"]) == (402, "INSUFFICIENT_CREDIT")
    message = answer.json()["message"]
    assert "0.005 USD" in message and "0.006 USD" in message and "runflow budget set" in message
    again = await client.post(f"/v1/runs/{queued['id']}/reruns")
    assert (again.status_code, again.json()["code"]) == (402, "INSUFFICIENT_CREDIT")
    assert (await balance(client))["balance"] == "-0.001000"

    lease = await worker.lease()
    assert lease is not None and lease["run_id"] == behind["id"], "what was queued is finished"
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    assert (await client.get(f"/v1/runs/{waiting['id']}")).json()["status_code"] == "succeeded"

    await grant(services, org, credit="1")
    assert (await try_dispatch(client, priced)).status_code == 201
    async with services.db.system() as transaction:
        assert await grants.clear(transaction, org)
        assert not await grants.clear(transaction, org)
    services.hub.publish("budget", str(org))
    assert (await balance(client))["balance"] is None


async def test_a_budget_that_is_nothing_stops_at_once_and_only_its_organization(
    services: Services, client: httpx.AsyncClient, other_client: httpx.AsyncClient, org: UUID, workflow: Deployed
) -> None:
    assert (await try_dispatch(client, workflow)).status_code == 201
    await grant(services, org, monthly="0")
    answer = await try_dispatch(client, workflow)
    assert (answer.status_code, answer.json()["code"]) == (402, "INSUFFICIENT_CREDIT")
    assert "for this month is used up" in answer.json()["message"]
    assert (await other_client.get("/v1/billing/balance")).json()["balance"] is None


async def test_a_monthly_limit_counts_what_the_month_has_cost_before_it_was_set(
    execute: Execute, services: Services, client: httpx.AsyncClient, org: UUID
) -> None:
    await execute(execute_ms=2000)
    await grant(services, org, monthly="1")
    assert ((await balance(client))["month_spent"], (await balance(client))["balance"]) == ("0.002000", "0.998000")
    await execute(execute_ms=1000)
    assert (await balance(client))["balance"] == "0.997000"


async def test_a_new_month_begins_with_nothing_spent(
    execute: Execute, services: Services, client: httpx.AsyncClient, org: UUID, priced: Deployed
) -> None:
    await grant(services, org, monthly="0.001")
    await execute(execute_ms=2000)
    assert (await try_dispatch(client, priced)).status_code == 402
    async with services.db.system() as transaction:
        await transaction.run("UPDATE budgets SET month = month - 31 WHERE org_id = %(org)s", {"org": org})
    services.hub.publish("budget", str(org))
    assert (await balance(client))["month_spent"] == "0.000000"
    run = await try_dispatch(client, priced)
    assert run.status_code == 201


async def test_a_settled_out_of_memory_attempt_is_charged_too(
    services: Services, client: httpx.AsyncClient, org: UUID, priced: Deployed, worker: Worker, dispatch: Dispatch
) -> None:
    await grant(services, org, credit="1")
    await dispatch()
    error = {"code": "OUT_OF_MEMORY", "stage": "execute", "message": "Too big.", "retryable": True}
    lease = await worker.lease()
    assert lease is not None
    await worker.complete(lease, "failed", error=error, timings={"execute_ms": 2000})
    assert (await balance(client))["credit_spent"] == "0.000000"
    lease = await worker.lease()
    assert lease is not None
    await worker.complete(lease, outputs=[await worker.upload(lease)], timings={"execute_ms": 3000})
    assert (await balance(client))["credit_spent"] == "0.005000"


async def test_a_low_balance_is_noted_once(
    execute: Execute, services: Services, client: httpx.AsyncClient, org: UUID
) -> None:
    await grant(services, org, credit="0.01")
    before = await balance(client)
    body = {"low_balance_threshold": 0.008, "updated_at": before["updated_at"]}
    changed = await client.patch("/v1/billing/balance", json=body)
    assert (changed.status_code, changed.json()["low_balance_threshold"]) == (200, "0.008000")
    stale = await client.patch("/v1/billing/balance", json=body)
    assert (stale.status_code, stale.json()["code"]) == (409, "CONFLICT")
    await execute(execute_ms=1000)
    assert (await balance(client))["low_balance_notified_at"] is None
    await execute(execute_ms=2000)
    first = (await balance(client))["low_balance_notified_at"]
    assert first is not None
    await execute(execute_ms=1000)
    assert (await balance(client))["low_balance_notified_at"] == first
    cleared = await client.patch("/v1/billing/balance", json={"low_balance_threshold": None})
    assert (cleared.json()["low_balance_threshold"], cleared.json()["low_balance_notified_at"]) == (None, None)


async def test_an_organization_without_a_budget_can_set_a_threshold_for_later(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/v1/billing/balance", json={"low_balance_threshold": "5"})
    assert (answer.status_code, answer.json()["low_balance_threshold"]) == (200, "5.000000")
    assert answer.json()["balance"] is None
    audit = (await client.get("/v1/audit-events")).json()["items"]
    assert [event["action_code"] for event in audit] == ["balance.updated"]


@pytest.mark.parametrize(
    "body",
    [{}, {"low_balance_threshold": -1}, {"low_balance_threshold": "NaN"}, {"low_balance_threshold": 1, "balance": 9}],
)
async def test_a_bad_threshold_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await client.patch("/v1/billing/balance", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "VALIDATION_ERROR")


async def test_the_older_scope_name_reads_the_balance_too(services: Services, make_key: MakeKey) -> None:
    async with open_client(services, await make_key(scopes=("credit_balance:read",))) as client:
        assert (await client.get("/v1/credit-balances")).status_code == 200


async def test_an_organization_cannot_write_its_own_budget(services: Services, org: UUID) -> None:
    await grant(services, org, credit="1")
    with pytest.raises(InsufficientPrivilege, match="permission denied"):
        async with services.db.tenant(org) as transaction:
            await transaction.change("UPDATE budgets SET credit = 1000")


def test_the_message_names_the_first_day_of_the_next_month() -> None:
    now = datetime.now(UTC)
    row = queries.Standing(
        balance=Decimal(0),
        monthly_limit=Decimal(100),
        spent_this_month=Decimal("100.123400"),
        this_month=date(2026, 12, 1),
        credit=None,
        credit_spent=Decimal(0),
        low_balance_threshold=None,
        low_balance_notified_at=None,
        created_at=now,
        updated_at=now,
    )
    assert budget.refusal(row).startswith(
        "The budget of 100.00 USD for this month is used up: 100.1234 USD were spent. Wait until 2027-01-01 (UTC)"
    )
