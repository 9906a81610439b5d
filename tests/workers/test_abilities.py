"""What workers' engines can run: each list is sent once, kept once, and read once."""

import threading
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import structlog

from runflow.ids import new_id
from runflow.protocol.abilities import ModelFile, NodePack, list_hash
from runflow.web.services import Services
from runflow.workers import abilities, ability_queries
from runflow.workers.abilities import AbilityMemory, EngineAbilities, ModelIndex, model_key, read_sandbox
from runflow.workflows.runtime.known import Known
from tests.support.able import CLASSES, MakeAble, told
from tests.support.deployed import Worker


async def kept(services: Services, *hashes: str) -> int:
    async with services.db.system() as transaction:
        values = {"hashes": list(hashes)}
        return await transaction.one_value(
            "SELECT count(*) FROM worker_lists WHERE hash = ANY(%(hashes)s)", values, of=int
        )


def fresh() -> dict[str, Any]:
    own = new_id().hex
    return told([f"Class{own}"], [ModelFile(path=f"loras/{own}.pt")], [NodePack(folder=own)])


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
        "fetches_addresses": False,
        "allows_pickle": False,
    }
    assert shown["sandbox"] == {**sandbox, "why_not_better": None}
    plain = (await operator.get(f"/v1/workers/{worker.worker_id}")).json()
    assert (plain["abilities"], plain["sandbox"]) == (None, None)


async def read_one(services: Services, memory: AbilityMemory, told: Mapping[str, Any]) -> EngineAbilities:
    async with services.db.system() as transaction:
        (found,) = await memory.read(transaction, [told])
    assert found is not None
    return found


async def test_memory_is_bounded_by_what_lists_take(services: Services, worker: Worker) -> None:
    """A list of thousands counts for what it is: it goes, or drives others out, where small ones stay."""
    memory, small = AbilityMemory(max_bytes=20_000), fresh()
    long = told([f"Class{number}" for number in range(1_000)])
    for one in (small, long):
        await worker.register(**one)
        found = await read_one(services, memory, one["abilities"])
        assert found.complete and found.node_types == frozenset(one["lists"]["node_types"])
        assert found.models is not None and len(found.models) == len(one["lists"]["models"])
        assert 0 < memory._lists.size_bytes <= 20_000
    assert ("node_types", small["abilities"]["node_types"]) in memory._lists
    assert ("node_types", long["abilities"]["node_types"]) not in memory._lists
    for _ in range(60):
        one = fresh()
        await worker.register(**one)
        await read_one(services, memory, one["abilities"])
    assert 0 < memory._lists.size_bytes <= 20_000
    assert ("node_types", small["abilities"]["node_types"]) not in memory._lists, "the oldest leave"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lists came with each query."""
    made: list[int] = []
    lists = ability_queries.lists

    async def spied(*given: Any, **named: Any) -> Any:
        found = await lists(*given, **named)
        made.append(len(found))
        return found

    monkeypatch.setattr(ability_queries, "lists", spied)
    return made


async def test_lists_are_read_within_a_bound_in_bytes_and_away_from_the_loop_where_they_are_long_together(
    services: Services, worker: Worker, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, threads = fresh(), set()
    await worker.register(**one)
    made = abilities._made

    def spied(*given: Any) -> Any:
        threads.add(threading.current_thread())
        return made(*given)

    monkeypatch.setattr(abilities, "_made", spied)
    reads.clear()
    assert (await read_one(services, AbilityMemory(), one["abilities"])).complete
    assert reads == [3] and threads == {threading.current_thread()}
    threads.clear()
    reads.clear()
    monkeypatch.setattr(abilities, "_LONG_CHARACTERS", 1)
    monkeypatch.setattr(abilities, "MOST_STORED_BYTES", 1)
    assert (await read_one(services, AbilityMemory(), one["abilities"])).complete
    assert reads == [1, 1, 1] and threading.current_thread() not in threads


async def test_what_does_not_fit_but_is_in_use_is_not_read_again(
    services: Services, worker: Worker, reads: list[int]
) -> None:
    one = told([f"Class{new_id().hex}"], [ModelFile(path=f"loras/{new_id().hex}.pt")])
    one["abilities"]["node_packs"] = None
    await worker.register(**one)
    memory = AbilityMemory(max_bytes=1)
    first = await read_one(services, memory, one["abilities"])
    reads.clear()
    second = await read_one(services, memory, one["abilities"])
    assert second.node_types is first.node_types and second.models is first.models and reads == []
    del first, second
    await read_one(services, memory, one["abilities"])
    assert reads == [2], "who holds nothing keeps nothing"


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("node_types", "{}"),
        ("node_types", '[{"folder": "p"}]'),
        ("node_types", "[[1], null]"),
        ("node_packs", '["p"]'),
        ("models", '[{"path": 7}]'),
        ("models", "7"),
    ],
)
async def test_a_list_that_cannot_be_read_is_one_worker_s_trouble_and_told_once(
    services: Services, able: MakeAble, worker: Worker, name: str, items: str
) -> None:
    good = await able()
    bad = fresh()
    await worker.register(**bad)
    async with services.db.system() as transaction:
        values = {"hash": bad["abilities"][name], "items": items}
        statement = "UPDATE worker_lists SET items = CAST(%(items)s AS json) WHERE hash = %(hash)s"
        await transaction.run(statement, values)
    known = Known(services)
    known.abilities = AbilityMemory()  # of a process that has not read it yet
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            machines = {one.worker.name: one.engine for one in await known.machines(now=True)}
    theirs, others = machines[worker.name], machines[good.name]
    assert theirs is not None and not theirs.complete
    assert others is not None and others.complete
    assert [one["list"] for one in logs if one.get("hash") == bad["abilities"][name]] == [name]


_MANY_LISTS = """
    INSERT INTO worker_lists (hash, items, length, used_at)
    SELECT encode(sha256(n::text::bytea), 'hex'), '[]', 0, now() - interval '1 hour' FROM generate_series(1, 2000) AS n
"""
_MANY_WORKERS = """
    INSERT INTO workers (id, name, instance, gpu_code, status_code, last_seen_at, abilities)
    SELECT gen_random_uuid(), 'one of many ' || n, gen_random_uuid(), 'CPU', 'ready', now() - interval '1 day',
           json_build_object('node_types', encode(sha256(n::text::bytea), 'hex'))
    FROM generate_series(1, 500) AS n
"""


async def test_what_nobody_names_is_found_without_comparing_each_list_with_each_worker(services: Services) -> None:
    class Enough(Exception):
        """Nothing of it is to stay."""

    def compared(plan: dict[str, Any]) -> float:
        here = plan.get("Rows Removed by Join Filter", 0) * plan["Actual Loops"]
        return float(here + sum(compared(one) for one in plan.get("Plans", ())))

    with pytest.raises(Enough):
        async with services.db.system() as transaction:
            await transaction.run(_MANY_LISTS)
            await transaction.run(_MANY_WORKERS)
            explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {ability_queries._FORGET}"
            plan = (await transaction.one_value(explained, {}, of=list))[0]["Plan"]
            left = await transaction.one_value("SELECT count(*) FROM worker_lists", {}, of=int)
            raise Enough
    assert compared(plan) < 10_000, "lists times workers is a million"
    assert left >= 500


async def test_a_list_of_another_kind_is_no_list_of_this_one(
    services: Services, able: MakeAble, worker: Worker
) -> None:
    good = await able()
    classes = told()["abilities"]["node_types"]
    answer = await worker.register(abilities={"models": classes})
    assert answer["wants"] == []
    engines = {one.worker.name: one.engine for one in await services.part(Known).machines(now=True)}
    theirs, others = engines[worker.name], engines[good.name]
    assert theirs is not None and not theirs.complete
    assert others is not None and others.complete and others.node_types == CLASSES
    assert await worker.lease() is None


async def test_abilities_that_cannot_be_read_are_not_taken_for_none(services: Services) -> None:
    """Who told nothing gets every lane; who told what is not understood must not."""
    async with services.db.system() as transaction:
        found, nothing = await AbilityMemory().read(transaction, [{"node_types": 7}, None])
    assert found is not None and not found.complete
    assert nothing is None
    sandbox = read_sandbox({"rung": "landlock"})
    assert sandbox is not None and not sandbox.separates_files and read_sandbox(None) is None


def test_a_model_is_found_without_a_look_at_all_of_them() -> None:
    index = ModelIndex([ModelFile(path=f"loras/{number}/{number}.pt") for number in range(20_000)])
    seen: list[str] = []

    class Spied(str):
        def endswith(self, *told: Any) -> bool:
            seen.append(self)
            return str(self).endswith(*told)

    index._by_key = {Spied(key): file for key, file in index._by_key.items()}
    index._by_name = {name: [Spied(key) for key in keys] for name, keys in index._by_name.items()}
    found = index.find("19999.pt")
    assert found is not None and found.path == "loras/19999/19999.pt"
    assert index.find("checkpoints/none.pt") is None
    assert seen == ["loras/19999/19999.pt"]


def test_paths_are_compared_in_one_form() -> None:
    assert model_key("./clip\\a.pt") == model_key("/text_encoders/a.pt") == "text_encoders/a.pt"
    index = ModelIndex([ModelFile(path="unet/a.pt"), ModelFile(path="loras/b/a.pt")])
    found = index.find("diffusion_models/a.pt")
    assert found is not None and found.path == "unet/a.pt"
    assert index.find("b/a.pt") is not None and index.find("x/a.pt") is None
    assert list_hash(["a"]) != list_hash(["b"])
