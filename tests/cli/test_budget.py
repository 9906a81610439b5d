"""`runflow budget` and `runflow gpus`, each as a process of its own on the suite's database."""

import asyncio
import json

import httpx
import pytest

from runflow.ids import new_id
from tests.cli.conftest import Command


async def test_a_budget_is_set_shown_and_cleared(runflow: Command, client: httpx.AsyncClient, owner_slug: str) -> None:
    said = await runflow("budget", "set", owner_slug, "--monthly", "100", "--credit", "50.5", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["balance"] == "50.500000"
    answer = (await client.get("/v1/billing/balance")).json()
    assert (answer["monthly_limit"], answer["credit"], answer["balance"]) == ("100.000000", "50.500000", "50.500000")
    shown = await runflow("budget", "show", owner_slug)
    assert "month    0.00 USD of 100.00 USD" in shown.out
    assert "balance  50.50 USD" in shown.out
    cleared = await runflow("budget", "clear", owner_slug, "--json")
    assert json.loads(cleared.out) == {"organization": owner_slug, "cleared": True}
    assert (await client.get("/v1/billing/balance")).json()["balance"] is None
    audit = (await client.get("/v1/audit-events")).json()["items"]
    assert [(event["action_code"], event["actor_type"]) for event in audit] == [
        ("budget.cleared", "operator"),
        ("budget.set", "operator"),
    ]


async def test_a_server_that_runs_hears_of_it_at_once(
    runflow: Command, client: httpx.AsyncClient, owner_slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.billing.budget.REMEMBER_SECONDS", 3600)  # nothing but the hint can tell it
    body = {"name": "Otter", "workflow_json": {"9": {"class_type": "SaveImage", "inputs": {}}}}
    path = (await client.post("/v1/comfyui-workflows", json=body)).json()["path"]
    dispatched = await client.post(f"/v1/comfyui-workflows/{path}/runs", json={"input": {}})
    assert dispatched.status_code == 201, dispatched.text
    assert (await runflow("budget", "set", owner_slug, "--credit", "0")).code == 0
    async with asyncio.timeout(60):
        while (await client.post(f"/v1/comfyui-workflows/{path}/runs", json={"input": {}})).status_code != 402:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("budget", "set", "nobody-at-all", "--credit", "1"), 1, "There is no organization 'nobody-at-all'"),
        (("budget", "set", "nobody-at-all"), 2, "Say how much"),
        (("budget", "set", "nobody-at-all", "--credit", "-1"), 2, "an amount has no sign"),
        (("budget", "set", "nobody-at-all", "--credit", "much"), 2, "is no amount"),
        (("gpus", "set", "L4"), 2, "Say what to set"),
    ],
)
async def test_a_wrong_call_says_what_to_do(
    runflow: Command, arguments: tuple[str, ...], code: int, expected: str
) -> None:
    said = await runflow(*arguments)
    assert said.code == code
    assert expected in " ".join(said.err.split())
    assert "Traceback" not in said.err


async def test_a_gpu_class_is_made_and_priced(runflow: Command, client: httpx.AsyncClient) -> None:
    code = f"T{new_id().hex[-6:].upper()}"
    assert (await runflow("gpus", "set", code, "--price", "0.0002", "--memory", "24")).code == 0
    found = (await client.get(f"/v1/gpus/{code}")).json()
    assert (found["name"], found["memory_gb"], found["price_per_second"]) == (code, 24, "0.000200")
    named = await runflow("gpus", "set", code, "--name", "Toy", "--json")
    assert json.loads(named.out)["name"] == "Toy"
    assert (await client.get(f"/v1/gpus/{code}")).json()["price_per_second"] == "0.000200"
    listed = await runflow("gpus", "list", "--json")
    assert code in [row["code"] for row in json.loads(listed.out)["items"]]
    assert "0.000200" in (await runflow("gpus", "list")).out
