"""What the operator sees of the installation: counts of every tenant, and nothing of what they sent."""

from typing import Any

import httpx
import pytest

from runflow.accounts.organizations import queries as orgs
from runflow.overview import queries, service
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client
from tests.support.deployed import Deployed, Dispatch, Worker


def named(found: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    (one,) = [row for row in found if all(row[name] == value for name, value in wanted.items())]
    return one


async def test_runs_of_every_organization_are_counted(
    operator: httpx.AsyncClient,
    client: httpx.AsyncClient,
    worker: Worker,
    dispatch: Dispatch,
    workflow: Deployed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries, "MOST_LANES", 10_000)  # other tests leave runs that wait
    await dispatch(input={"prompt": "a planted secret"}, client_ref="planted reference")
    await dispatch()
    lease = await worker.lease()
    assert lease is not None
    answer = await operator.get("/v1/overview")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    lane = named(found["queue"]["lanes"], gpu_class=workflow.gpu)
    assert (lane["workflow"], lane["version"], lane["queued"], lane["running"]) == (workflow.path, "1", 1, 1)
    assert lane["organization"] == workflow.path.partition("/")[0] and lane["oldest_wait_seconds"] >= 0
    assert found["queue"]["queued"] >= 1 and found["queue"]["oldest_wait_seconds"] >= lane["oldest_wait_seconds"]
    shown = named(found["workers"], id=worker.worker_id)
    assert (shown["executing"], shown["online"], shown["draining"], shown["paused"]) == (1, True, False, False)
    assert found["last_hour"]["queued"] >= 1 and found["last_hour"]["dispatching"] >= 1
    assert "planted" not in answer.text
    timings = {"cold_start": True, "loaded": True, "load_ms": 5}
    await worker.complete(lease, outputs=[await worker.upload(lease)], timings=timings)
    after = (await operator.get("/v1/overview")).json()
    assert named(after["workers"], id=worker.worker_id)["executing"] == 0
    assert after["last_hour"]["succeeded"] >= found["last_hour"]["succeeded"] + 1
    for cause in ("engine", "model"):
        assert after["cold_starts_last_hour"][cause] >= found["cold_starts_last_hour"][cause] + 1


async def test_the_parts_of_the_installation(operator: httpx.AsyncClient) -> None:
    found = (await operator.get("/v1/overview")).json()
    assert found["database"]["size_bytes"] > 0 and found["database"]["version"].partition(".")[0].isdigit()
    assert found["storage"]["kind_code"] == "disk"
    assert 0 <= found["storage"]["free_bytes"] <= found["storage"]["total_bytes"]
    assert found["organizations"] >= 1 and found["server"]["processes"] >= 0


async def test_messages_that_wait_are_counted(
    services: Services, client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    run = await dispatch(callback_url="https://callbacks.invalid/here")
    await client.post(f"/v1/runs/{run['id']}/cancellation")
    async with services.db.system() as transaction:
        before = (await service.collect(transaction, None))["deliveries"]
        # Seen by nobody else, so the sender has no say in it.
        changed = await transaction.change(
            "UPDATE deliveries SET next_attempt_at = now() - interval '5 minutes' WHERE run_id = %(run)s",
            {"run": run["id"]},
        )
        after = (await service.collect(transaction, None))["deliveries"]
        await transaction.run(
            "UPDATE deliveries SET next_attempt_at = now() WHERE run_id = %(run)s", {"run": run["id"]}
        )
    assert changed == 1 and before["pending"] >= 1
    assert after["overdue"] >= 1 and after["oldest_due_seconds"] >= 300


async def test_only_the_operator_reads_it(services: Services, make_key: MakeKey, operator: httpx.AsyncClient) -> None:
    async with open_client(services, await make_key(org=await new_org(services))) as stranger:
        answer = await stranger.get("/v1/overview")
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
    async with services.db.system() as transaction:
        first = await orgs.first(transaction)
    assert first is not None
    async with open_client(services, await make_key("runs:read", org=first.id)) as short_of_scopes:
        assert (await short_of_scopes.get("/v1/overview")).status_code == 403


async def test_a_bucket_has_no_end(services: Services) -> None:
    async with services.db.system(durable=False) as transaction:
        found = await service.collect(transaction, None)
    assert found["storage"] == {"kind_code": "bucket", "free_bytes": None, "total_bytes": None}


async def test_the_last_hour_is_found_by_an_index(services: Services) -> None:
    async with services.db.system() as transaction:
        await transaction.run("SET LOCAL enable_seqscan = off")
        parameters = {"first": "0197f3a0-0000-7000-8000-000000000000"}
        plan = "\n".join(await transaction.values(f"EXPLAIN {queries._RECENT}", parameters, of=str))
    assert "Index Cond" in plan, plan
