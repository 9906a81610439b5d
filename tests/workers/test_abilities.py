"""What workers' engines can run: each list is sent once, kept once, and read once."""

from typing import Any
from uuid import UUID

import httpx

from runflow.ids import new_id
from runflow.protocol.abilities import ModelFile, NodePack, list_hash
from runflow.web.services import Services
from runflow.workers.abilities import AbilityMemory, ModelIndex, model_key
from tests.support.able import MakeAble, told
from tests.support.deployed import Worker


async def kept(services: Services, *hashes: str) -> int:
    async with services.db.system() as transaction:
        values = {"hashes": list(hashes)}
        return await transaction.one_value(
            "SELECT count(*) FROM worker_lists WHERE hash = ANY(%(hashes)s)", values, of=int
        )


def fresh() -> dict[str, Any]:
    return told([f"Class{new_id().hex}"], [ModelFile(path=f"loras/{new_id().hex}.pt")], [NodePack(folder="p")])


async def test_the_server_asks_for_a_list_once(services: Services, worker: Worker, able: MakeAble) -> None:
    all_of_it = fresh()
    hashes = {name: all_of_it["abilities"][name] for name in all_of_it["lists"]}
    plain = {**all_of_it, "lists": None}
    assert set((await worker.register(**plain))["wants"]) >= {"node_types", "models"}
    assert await worker.lease() is None
    answer = await worker.register(**all_of_it)
    assert answer["wants"] == []
    assert (await worker.register(**plain))["wants"] == []
    other = await able()
    assert (await other.register(**plain))["wants"] == [], "another machine with the same"
    assert await kept(services, *hashes.values()) == 3


async def test_a_list_is_not_taken_for_another(services: Services, worker: Worker) -> None:
    one, two = fresh(), fresh()
    answer = await worker.register(abilities=one["abilities"], lists=two["lists"])
    assert "node_types" in answer["wants"]
    assert await kept(services, two["abilities"]["node_types"]) == 0, "nobody named it"


async def test_lists_that_nobody_names_any_more_go(services: Services, worker: Worker) -> None:
    old, new = fresh(), fresh()
    await worker.register(**old)
    async with services.db.system() as transaction:
        await transaction.run("UPDATE worker_lists SET used_at = now() - interval '1 hour'")
    await worker.register(**new)
    assert await kept(services, old["abilities"]["node_types"]) == 1, "it was named until now"
    await worker.register(**fresh())
    async with services.db.system() as transaction:
        await transaction.run("UPDATE worker_lists SET used_at = now() - interval '1 hour'")
    await worker.register(**fresh())
    assert await kept(services, old["abilities"]["node_types"], new["abilities"]["node_types"]) == 0


async def test_what_is_out_of_bounds_is_refused(worker: Worker) -> None:
    body = {**worker.me, "name": worker.name, "status": "ready"}
    for wrong in (
        {"abilities": {"node_types": "no hash"}},
        {"lists": {"node_types": ["x" * 256]}},
        {"lists": {"node_types": ["x"] * 20_001}},
        {"lists": {"models": [{"path": "x" * 1001}]}},
        {"lists": {"models": [{"path": "x", "size_bytes": -1}]}},
        {"sandbox": {"rung": "uid"}},
    ):
        answer = await worker.http.post("/v1/worker/registrations", json={**body, **wrong})
        assert answer.status_code == 422, wrong


async def test_the_operator_sees_in_short_what_a_worker_has(
    operator: httpx.AsyncClient, able: MakeAble, worker: Worker
) -> None:
    sandbox = {"rung": "bubblewrap", "separates_files": True, "isolation": "run", "fork_level": 3}
    box = await able(
        ["A", "B"],
        [ModelFile(path="vae/a.pt")],
        [NodePack(folder="p")],
        comfyui_commit="c",
        registers={"sandbox": sandbox},
    )
    shown = (await operator.get(f"/v1/workers/{box.worker_id}")).json()
    assert shown["abilities"] == {
        "comfyui_version": "0.30.0",
        "comfyui_commit": "c",
        "node_types_count": 2,
        "node_packs_count": 1,
        "models_count": 1,
        "places_models": False,
        "allows_pickle": False,
    }
    assert shown["sandbox"] == {**sandbox, "why_not_better": None}
    plain = (await operator.get(f"/v1/workers/{worker.worker_id}")).json()
    assert (plain["abilities"], plain["sandbox"]) == (None, None)


async def test_memory_has_an_end(services: Services, worker: Worker) -> None:
    memory = AbilityMemory(most=3)
    for _ in range(4):
        one = fresh()
        await worker.register(**one)
        async with services.db.system() as transaction:
            (found,) = await memory.read(transaction, [one["abilities"]])
        assert found is not None and found.complete
        assert found.node_types == frozenset(one["lists"]["node_types"])
        assert found.models is not None and len(found.models) == 1
    assert memory._items <= 3
    assert UUID(worker.worker_id)


def test_paths_are_compared_in_one_form() -> None:
    assert model_key("./clip\\a.pt") == model_key("/text_encoders/a.pt") == "text_encoders/a.pt"
    index = ModelIndex([ModelFile(path="unet/a.pt"), ModelFile(path="loras/b/a.pt")])
    found = index.find("diffusion_models/a.pt")
    assert found is not None and found.path == "unet/a.pt"
    assert index.find("b/a.pt") is not None and index.find("x/a.pt") is None
    assert list_hash(["a"]) != list_hash(["b"])
