"""`runflow workers` and `runflow status`, each as a process of its own on the suite's database."""

import json
from pathlib import Path

import httpx

from runflow.cli import workers
from runflow.protocol.abilities import ModelFile, NodePack
from runflow.web.services import Services
from tests.cli.conftest import Command
from tests.support.able import MakeAble
from tests.support.deployed import Dispatch, Worker
from tests.support.scripted import Reply, scripted


async def test_a_worker_is_drained_and_undrained_by_its_name(
    runflow: Command, operator: httpx.AsyncClient, worker: Worker, dispatch: Dispatch
) -> None:
    assert (await runflow("workers", "drain", worker.name)).code == 0
    assert (await operator.get(f"/v1/workers/{worker.worker_id}")).json()["draining"] is True
    await dispatch()
    assert await worker.lease() is None
    (shown,) = [line for line in (await runflow("workers", "list")).out.splitlines() if worker.name in line]
    assert "draining" in shown
    assert (await runflow("workers", "undrain", worker.worker_id)).code == 0, "by its id as well"
    assert await worker.lease() is not None
    events = (await operator.get("/v1/audit-events", params={"q": f"target_id:{worker.worker_id}"})).json()["items"]
    assert [(one["action_code"], one["actor_type"]) for one in events] == [("worker.updated", "operator")] * 2
    found = json.loads((await runflow("workers", "list", "--json")).out)["items"]
    assert [row["executing"] for row in found if row["name"] == worker.name] == [1]


async def test_what_a_worker_has_is_told_in_short(runflow: Command, able: MakeAble) -> None:
    sandbox = {"rung": "bubblewrap", "separates_files": True, "isolation": "organization", "fork_level": 3}
    box = await able(["A", "B"], [ModelFile(path="vae/a.pt")], [NodePack(folder="p")], registers={"sandbox": sandbox})
    (shown,) = [line for line in (await runflow("workers", "list")).out.splitlines() if box.name in line]
    assert "0.30.0, 2 classes, 1 pack, 1 model, bubblewrap, fork 3" in shown


async def test_a_worker_that_is_gone_is_removed(runflow: Command, services: Services, worker: Worker) -> None:
    refused = await runflow("workers", "remove", worker.name)
    assert refused.code == 1 and "Drain it, stop it" in " ".join(refused.err.split())
    async with services.db.system() as transaction:
        await transaction.run(
            "UPDATE workers SET last_seen_at = now() - interval '2 days' WHERE id = %(id)s", {"id": worker.worker_id}
        )
    assert "2 d ago" in (await runflow("workers", "list")).out
    assert (await runflow("workers", "remove", worker.name)).code == 0
    assert worker.name not in (await runflow("workers", "list")).out
    for unknown in (worker.name, "nobody", "0197f3a0-0000-7000-8000-000000000000"):
        said = await runflow("workers", "drain", unknown)
        assert (said.code, "no worker" in said.err, "Traceback" in said.err) == (1, True, False)


async def test_the_status_of_the_installation(runflow: Command, worker: Worker, dispatch: Dispatch) -> None:
    await dispatch()
    found = json.loads((await runflow("status", "--json")).out)
    assert found["queue"]["queued"] >= 1 and worker.name in [row["name"] for row in found["workers"]]
    assert found["server"]["url"] is None, "none runs on this home"
    said = await runflow("status")
    assert said.code == 0, said.err
    # What other tests left waiting stands first.
    assert found["queue"]["lanes"][0]["workflow"] in said.out
    assert worker.name in said.out and "free of" in said.out


async def test_a_server_that_is_not_ready_is_not_said_to_be_gone(runflow: Command, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with scripted(*[Reply(503, {"code": "UNAVAILABLE", "message": "x"}), Reply(200, {})] * 2) as server:
        (tmp_path / "home" / "server.url").write_text(server.url)
        assert f"not ready, at {server.url}" in (await runflow("status")).out
        found = json.loads((await runflow("status", "--json")).out)
    assert (found["server"]["url"], found["server"]["ready"]) == (server.url, False)


def test_how_long_ago() -> None:
    assert [workers.ago(seconds) for seconds in (-1, 59, 60, 3599, 3600, 86400)] == [
        "0 s ago",
        "59 s ago",
        "1 min ago",
        "59 min ago",
        "1 h ago",
        "1 d ago",
    ]
