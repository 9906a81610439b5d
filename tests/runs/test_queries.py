"""The list of all runs: search, projection, relations, statuses, links."""

from typing import Any

import httpx
import pytest

from runflow.db.statements import compiled
from runflow.db.transaction import Transaction
from runflow.runs import queries
from runflow.runs.queries import RUN_LIST
from runflow.runs.schemas import Run
from runflow.web.lists import ListQuery, build, pages
from runflow.web.services import Services
from tests.support.deployed import Deployed, Dispatch, Worker


async def searched(client: httpx.AsyncClient, q: str, **more: str) -> list[str]:
    answer = await client.get("/v1/runs", params={"q": q, "fields": "id", **more})
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_runs_are_searched_by_everything_they_have(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    first = await dispatch(client_ref="ref-1")
    lease = await worker.lease()
    assert lease is not None
    await worker.fail(lease, "EXECUTION_FAILED")
    second = await dispatch(client_ref="ref-2")
    slug = workflow.path.partition("/")[2]
    for q, found in (
        ("status_code:failed", [first["id"]]),
        ("failure_code:EXECUTION_FAILED AND failure_message.ilike:'%MEND%'", [first["id"]]),
        (f"comfyui_workflow_id:{workflow.id}", [second["id"], first["id"]]),
        (f"workflow_slug:{slug} AND status_code:queued", [second["id"]]),
        ("workflow_slug.isnull:true", []),
        ("workflow_slug.eq:'nobody'", []),
        ("client_ref.in:(ref-1, ref-2) AND duration_ms >= 0", [first["id"]]),
        ("completed_at.isnull:true", [second["id"]]),
        ("cost:0 AND source_code:api", [first["id"]]),
        (f"request_id:{second['request_id']}", [second["id"]]),
        ("batch_id.isnull:false OR rerun_of.isnull:false", []),
    ):
        assert await searched(client, q) == found, q
    by_end = await searched(client, "target_type:comfyui_workflow", sort_by="completed_at:asc,created_at:desc")
    assert by_end == [first["id"], second["id"]]


async def test_only_what_fields_asks_for_is_read(
    client: httpx.AsyncClient, services: Services, dispatch: Dispatch, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dispatch(metadata={"large": "x" * 1000})
    lease = await worker.lease()
    assert lease is not None
    await worker.complete(lease, outputs=[await worker.upload(lease)])
    statements: list[str] = []
    made = Transaction.made

    async def spied(transaction: Transaction, statement: Any, *rest: Any) -> Any:
        statements.append(str(statement))
        return await made(transaction, statement, *rest)

    monkeypatch.setattr(Transaction, "made", spied)
    lean = (await client.get("/v1/runs?fields=id,status_code")).json()["items"]
    assert [set(item) for item in lean] == [{"id", "status_code"}]
    output = (await client.get("/v1/runs?fields=output")).json()["items"]
    assert output[0]["output"]["outputs"][0]["size_bytes"] == 3
    whole = (await client.get("/v1/runs")).json()["items"][0]
    assert whole["metadata"] == {"large": "x" * 1000} and whole["input"] == {"prompt": "an otter"}
    heavy = [[name in statement for name in ("run_outputs", "runs.input", "runs.metadata")] for statement in statements]
    assert heavy == [[False, False, False], [True, False, False], [True, True, True]]


async def test_the_list_and_the_record_say_the_same(
    client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch, worker: Worker
) -> None:
    run = await dispatch()
    lease = await worker.lease()
    assert lease is not None
    await worker.fail(lease, "EXECUTION_FAILED")
    embeds = "node_runs,logs,attempts,comfyui_workflow,model,flow"
    one = (await client.get(f"/v1/runs/{run['id']}", params={"embed": embeds})).json()
    (listed,) = (await client.get("/v1/runs", params={"embed": embeds})).json()["items"]
    assert listed == one
    Run.model_validate(one)
    assert one["comfyui_workflow"]["path"] == workflow.path
    assert one["model"] == workflow.path and one["flow"] is None and len(one["attempts"]) == 1


async def test_links_lead_where_they_say(client: httpx.AsyncClient, workflow: Deployed, dispatch: Dispatch) -> None:
    run = await dispatch()
    assert {
        "self",
        "events",
        "logs",
        "node_runs",
        "callback",
        "evaluations",
        "cancellation",
        "reruns",
        "workflow",
    } <= set(run["links"])
    for name in ("self", "logs", "node_runs", "attempts", "workflow"):
        assert (await client.get(run["links"][name])).status_code == 200, name
    for name in ("cancellation", "reruns"):
        assert (await client.post(run["links"][name])).status_code == 201, name


async def test_statuses_are_reference_data(client: httpx.AsyncClient) -> None:
    items = (await client.get("/v1/runs/statuses")).json()["items"]
    assert [item["code"] for item in items] == [
        *("queued", "dispatching", "running", "succeeded", "partial_succeeded", "failed", "cancelled")
    ]
    assert [item["code"] for item in items if item["is_batch_only"]] == ["partial_succeeded"]
    assert all(set(item) >= {"code", "name", "description", "is_terminal", "sort_order"} for item in items)
    terminal = (await client.get("/v1/runs/statuses", params={"q": "is_terminal:true", "fields": "code"})).json()
    assert len(terminal["items"]) == 4


async def test_another_organization_s_runs_are_not_there(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, dispatch: Dispatch
) -> None:
    run = await dispatch()
    assert (await other_client.get("/v1/runs")).json()["items"] == []
    assert await searched(other_client, f"id:{run['id']}") == []


async def test_the_models_route_dispatches_the_same(client: httpx.AsyncClient, workflow: Deployed) -> None:
    answer = await client.post(f"/v1/models/{workflow.path}/runs", json={"input": {"prompt": "x"}})
    assert answer.status_code == 201, answer.text
    Run.model_validate(answer.json())
    assert answer.json()["comfyui_workflow_id"] == workflow.id


async def test_runs_of_others_public_workflows_are_found_by_slug(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, workflow: Deployed
) -> None:
    path, slug = f"/v1/comfyui-workflows/{workflow.id}", workflow.path.partition("/")[2]
    await client.patch(path, json={"is_public": True})
    run = await other_client.post(f"/v1/comfyui-workflows/{workflow.path}/runs", json={"input": {"prompt": "x"}})
    found = [run.json()["id"]]
    assert run.json()["model"] == workflow.path
    for q, seen, hidden in (
        (f"workflow_slug:{slug}", found, []),
        (f"workflow_slug.ilike:'{slug.upper()}' AND workflow_slug.in:({slug}, other)", found, []),
        (f"NOT workflow_slug:{slug}", [], found),
        ("workflow_slug.isnull:true", [], found),
    ):
        await client.patch(path, json={"is_public": True})
        assert await searched(other_client, q) == seen, q
        assert await searched(client, q) == [], q
        assert (await other_client.get(f"/v1/runs/{found[0]}")).json()["model"] == workflow.path
        await client.patch(path, json={"is_public": False})
        assert await searched(other_client, q) == hidden, q
        assert (await other_client.get(f"/v1/runs/{found[0]}")).json()["model"] is None


@pytest.mark.parametrize(
    ("field", "q", "index"),
    [
        ("duration_ms", "duration_ms >= 0", "runs_by_duration"),
        ("cost", "cost > 0", "runs_by_cost"),
        ("cost", "cost >= 0.5", "runs_by_cost"),
    ],
)
async def test_the_longest_and_the_most_expensive_runs_come_from_an_index(
    client: httpx.AsyncClient, services: Services, field: str, q: str, index: str
) -> None:
    caller = await services.authenticator.principal(client.headers["Authorization"].removeprefix("Bearer "))
    assert caller is not None
    for direction in ("asc", "desc"):
        query = ListQuery(q=q, sort_by=f"{field}:{direction}", fields=("id",))
        statement = build(RUN_LIST, query, queries.of_organization(caller.org_id, {"id"}))
        sql, values = compiled(statement)
        async with services.db.tenant(caller.org_id) as transaction:
            await transaction.run("SET LOCAL enable_sort = off")  # so few rows are sorted sooner than found
            plan = "\n".join(await transaction.values(f"EXPLAIN {sql}", values, of=str))
        assert index in plan and "Sort" not in plan, plan


async def test_a_long_page_of_large_inputs_ends_early(
    client: httpx.AsyncClient, dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [(await dispatch(input={"prompt": "x" * 1000}))["id"] for _ in range(3)][::-1]
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 1500)
    first = (await client.get("/v1/runs", params={"limit": 100})).json()
    rest = (await client.get("/v1/runs", params={"limit": 100, "pq": first["next"]})).json()
    assert [[run["id"] for run in page["items"]] for page in (first, rest)] == [runs[:2], runs[2:]]
    assert rest["next"] is None and await searched(client, "source_code:api", limit="100") == runs
