"""`runflow runs` against the application."""

import json

import httpx

from tests.cli.conftest import Command
from tests.support.deployed import Deployed, Dispatch, Worker
from tests.support.serving_worker import Serving

UUID = "0197f3a0-0000-7000-8000-000000000000"


async def test_runs_are_listed_shown_and_followed(
    cli: Command, workflow: Deployed, worker: Worker, dispatch: Dispatch
) -> None:
    first = await dispatch(client_ref="ticket-1")
    async with Serving(worker):
        assert (await cli("runs", "tail", first["id"])).code == 0
    second = await dispatch()
    listed = await cli("runs", "list")
    rows = [line.split() for line in listed.out.splitlines()]
    assert [row[0] for row in rows] == ["id", second["id"], first["id"]] and "ticket-1" in rows[2]
    assert [row[0] for row in map(str.split, (await cli("runs", "list", "-n", "1")).out.splitlines())][1:] == [
        second["id"]
    ]
    whole = json.loads((await cli("runs", "list", workflow.path, "--status", "succeeded", "--json")).out)
    assert [run["id"] for run in whole] == [first["id"]]
    assert json.loads((await cli("runs", "list", "-q", "client_ref:none OR client_ref:no", "--json")).out) == []
    shown = await cli("runs", "show", first["id"])
    assert "status     succeeded" in shown.out and "picture: a.png" in shown.out and "http://" in shown.out
    assert "\nwaited     " in shown.out
    assert "waits for" in (await cli("runs", "show", second["id"])).out
    assert json.loads((await cli("runs", "show", first["id"], "--json")).out)["client_ref"] == "ticket-1"
    events = [json.loads(line) for line in (await cli("runs", "tail", first["id"], "--json")).out.splitlines()]
    assert events[0]["event"] == "status" and events[-1]["is_terminal"] is True


async def test_a_failed_run_is_told_by_the_exit_code(cli: Command, worker: Worker, dispatch: Dispatch) -> None:
    run = await dispatch()
    async with Serving(worker, fails=True):
        said = await cli("runs", "tail", run["id"])
    assert said.code == 1 and "It broke. Mend it." in said.words
    again = await cli("runs", "tail", run["id"])
    assert again.code == 1 and "dispatching" in again.err, "what happened is told afterwards, too"
    assert "had ended already: failed" in (await cli("runs", "cancel", run["id"])).err


async def test_runs_are_cancelled_and_repeated(cli: Command, dispatch: Dispatch, client: httpx.AsyncClient) -> None:
    run = await dispatch()
    assert (await cli("runs", "cancel", run["id"], "--reason", "not wanted")).code == 0
    assert (await cli("runs", "cancel", run["id"])).code == 0
    assert json.loads((await cli("runs", "cancel", run["id"], "--json")).out)["cancellation_reason"] == "not wanted"
    repeated = await cli("runs", "rerun", run["id"], "--pinned")
    assert repeated.code == 0
    assert (await client.get(f"/v1/runs/{repeated.out.strip()}")).json()["rerun_of"] == run["id"]
    assert json.loads((await cli("runs", "rerun", run["id"], "--json")).out)["rerun_of"] == run["id"]


async def test_a_run_that_is_none_is_a_wrong_call(cli: Command) -> None:
    for words in (("show", UUID), ("tail", UUID), ("cancel", UUID), ("rerun", UUID), ("show", "x")):
        said = await cli("runs", *words)
        assert said.code == 2 and "Traceback" not in said.err, said.err
    assert (await cli("runs", "list", "-q", "status_code ~ 3")).code == 2
