import asyncio
import itertools
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from runflow.protocol.workers import Gpu
from runflow.worker.attempts.attempt import Attempt
from runflow.worker.attempts.context import Stop
from runflow.worker.engine.base import Engine, EngineStartFailed, SandboxFacts
from runflow.worker.pool.engine_supervisor import NoEngine
from runflow.worker.server_api.connection import NotWelcome, Superseded
from runflow.worker.settings import Limits, WorkerSettings
from tests.support.fake_server import FakeServer, make_lease
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import Hold, ScriptedEngine, png


@pytest.fixture
def no_beats(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that take milliseconds end before their first heartbeat, also where the machine stands still for a while."""
    server.offer_seconds = 4 * 3600
    monkeypatch.setattr("runflow.worker.agent._FIRST_BEAT_SECONDS", 3600)


async def quicken(server: FakeServer) -> None:
    """Run one short prompt, so that the worker knows executions to be short."""
    await server.completion(server.offer())


async def test_a_class_that_is_declared_is_registered_before_and_after_the_engine_is_known(
    server: FakeServer, worker: StartWorker
) -> None:
    async with worker(gpu=Gpu(code="A100-MIG-1G.10GB", memory_gb=10)):
        await server.completion(server.offer())
    first, ready = server.registrations[0]["gpu"], server.registrations[-1]["gpu"]
    assert first == {"code": "A100-MIG-1G.10GB", "name": None, "memory_gb": 10}
    assert ready == {"code": "A100-MIG-1G.10GB", "name": "NVIDIA L40S", "memory_gb": 10}


async def test_a_run_goes_from_lease_to_completion(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker, tmp_path: Path, no_beats: None
) -> None:
    async with worker(labels={"rack": "3"}):
        lease_id = server.offer()
        done = await server.completion(lease_id)
        await server.until(lambda: engine.cleaned)
    first, ready = server.registrations[0], server.registrations[-1]
    assert first["status"] in ("engine_down", "ready")
    assert uuid.UUID(ready["instance"]) == uuid.UUID(first["instance"])
    assert ready["gpu"] == {"code": "L40S", "name": "NVIDIA L40S", "memory_gb": 48}
    assert ready["labels"] == {"rack": "3"}
    assert ready["engine"]["comfyui_version"] == "0.30.0"
    assert ready["engine"]["has_plugin"] is True
    assert done["result"] == "succeeded"
    assert done["error"] is None
    [output] = done["outputs"]
    assert server.objects[output["object_key"]] == png()
    assert {key: output[key] for key in ("ordinal", "output_id", "node_id", "content_type", "width", "height")} == {
        "ordinal": 0,
        "output_id": "image",
        "node_id": "9",
        "content_type": "image/png",
        "width": 4,
        "height": 3,
    }
    assert len(output["sha256"]) == 64
    assert [node["state_code"] for node in done["nodes"]] == ["succeeded", "succeeded"]
    assert done["nodes"][1]["title"] == "Result"
    assert done["timings"]["execute_ms"] == 4
    assert done["timings"]["cold_start"] is True
    assert done["timings"]["started_at"] is not None
    assert [(event["number"], event["type"]) for event in done["events"]] == [
        (1, "status"),
        (2, "node"),
        (3, "node"),
        (4, "progress"),
    ]
    assert done["events"][0]["data"] == {"status_code": "running"}
    assert done["events"][3]["data"]["nodes_completed"] == 2
    assert server.heartbeats[lease_id] == []
    assert engine.cleaned == [f"runflow/{lease_id}"]
    assert not (tmp_path / "worker" / "staging").exists()
    assert engine.log[-1] == "stop"


async def test_a_short_run_costs_exactly_two_requests_beside_the_one_for_work(
    server: FakeServer, worker: StartWorker, no_beats: None
) -> None:
    version = "0198c0de-0000-7000-8000-00000000dddd"
    async with worker():
        for _ in range(2):
            await server.completion(server.offer(version_id=version))
        await server.until(lambda: server.polls)
        before = len(server.log)
        lease_id = server.offer(version_id=version)
        await server.completion(lease_id)
        made = [line for line in server.log[before:] if line not in ("leases", "registrations")]
    assert made == ["put", f"completions {lease_id}"]


async def test_the_next_poll_waits_before_the_run_ends(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    engine.script = hold = Hold()
    async with worker():
        lease_id = server.offer()
        await hold.until_began(lease_id)
        await server.until(lambda: server.polls == 1)
        hold.let_go(lease_id)
        await server.completion(lease_id)


async def test_the_engine_never_waits_for_fetching_or_storing(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    """While one run executes, the next is inside and a third prepared; while one is stored, the next executes."""
    async with worker():
        await quicken(server)
        engine.script = hold = Hold()
        server.hold_puts = asyncio.Event()
        first, second, third, fourth = (server.offer() for _ in range(4))
        runs = [lease["run_id"] for lease in server.leases]
        await hold.until_began(first)
        await server.until(lambda: f"submit {second}" in engine.log)
        await server.until(lambda: len(server.leases) == 1)
        assert f"submit {third}" not in engine.log
        hold.let_go(first)
        await hold.until_began(second)
        await server.until(lambda: "put" in server.log and not server.leases)
        assert first not in server.completions
        await server.until(lambda: f"submit {third}" in engine.log)
        server.hold_puts.set()
        for lease_id in (second, third, fourth):
            hold.let_go(lease_id)
        for lease_id in (first, second, third, fourth):
            assert (await server.completion(lease_id))["result"] == "succeeded"
    assert engine.most_inside == 2
    begins = [line for line in engine.log if line.startswith("begin")][1:]
    assert begins == [f"begin {lease_id}" for lease_id in (first, second, third, fourth)]
    noted = [run for run in engine.noted if run in runs]
    assert [run for run, _ in itertools.groupby(noted)] == runs, "the engine's log names a run from its begin on"
    assert engine.noted[-1] is None


async def test_behind_a_long_run_the_next_is_prepared_but_stays_outside(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    engine.script = hold = Hold()
    async with worker(limits=Limits(hold=0.05)):
        first, second = server.offer(), server.offer()
        await hold.until_began(first)
        given_back = await server.completion(second)
        assert given_back["result"] == "released"
        assert f"submit {second}" not in engine.log
        # No more is asked for until the long one ends.
        third = server.offer()
        await server.until(lambda: server.polls == 0)
        hold.let_go(first)
        await hold.until_began(third)
        hold.let_go(third)
        assert (await server.completion(third))["result"] == "succeeded"


async def test_a_second_prompt_inside_the_engine_is_taken_out_again_when_it_waits_too_long(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    async with worker(limits=Limits(hold=0.05)):
        await quicken(server)
        engine.script = hold = Hold()
        first, second = server.offer(), server.offer()
        executing = server.leases[0]["run_id"]
        await hold.until_began(first)
        assert (await server.completion(second))["result"] == "released"
        assert f"cancel {second}" in engine.log
        assert engine.noted[-1] == executing, "what the engine prints is still the other's"
        hold.let_go(first)
        assert (await server.completion(first))["result"] == "succeeded"


async def test_a_long_run_is_renewed_and_tells_its_progress(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.worker.agent._FIRST_BEAT_SECONDS", 0.01)
    monkeypatch.setattr("runflow.worker.attempts.heartbeat.EVENT_SECONDS", 0.02)
    engine.script = hold = Hold()
    server.lease_seconds = 1
    async with worker():
        lease_id = server.offer()
        await server.until(lambda: len(server.heartbeats[lease_id]) >= 3)
        hold.let_go(lease_id)
        await server.completion(lease_id)
    events = server.events(lease_id)
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["data"] == {"status_code": "running"}


async def test_a_held_lease_that_does_not_execute_is_renewed_too(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runflow.worker.agent._FIRST_BEAT_SECONDS", 0.01)
    engine.script = hold = Hold()
    async with worker():
        first, second = server.offer(), server.offer()
        await hold.until_began(first)
        await server.until(lambda: server.heartbeats[second])
        hold.let_go(first)
        hold.let_go(second)
        await server.completion(second)


async def test_without_an_engine_the_worker_says_so_and_looks_again(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    found: list[Engine] = []

    def find() -> Engine:
        if not found:
            raise NoEngine("There is no ComfyUI here. Install one: runflow comfyui install")
        return found[0]

    async with worker(find=find, ready=False) as agent:
        agent._engines._look_again_seconds = 0.01
        lease_id = server.offer()
        await server.until(lambda: server.registrations and server.registrations[-1]["status"] == "no_engine")
        assert "runflow comfyui install" in server.registrations[-1]["status_detail"]
        assert server.registrations[-1]["engine"] is None
        assert server.polls == 0
        found.append(engine)
        assert (await server.completion(lease_id))["result"] == "succeeded"


async def test_an_engine_that_does_not_start_is_tried_again(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    engine.start_error = EngineStartFailed("torch does not import. Run `runflow comfyui install` again.")
    async with worker(ready=False):
        await server.until(
            lambda: any("torch does not import" in (each["status_detail"] or "") for each in server.registrations)
        )
        assert server.registrations[-1]["status"] == "engine_down"
        engine.start_error = None
        assert (await server.completion(server.offer()))["result"] == "succeeded"


async def test_a_server_that_forgot_the_worker_gets_a_new_registration(server: FakeServer, worker: StartWorker) -> None:
    async with worker():
        await server.until(lambda: server.polls)
        count = len(server.registrations)
        await server.stop()
        server.known = False
        await server.start()
        assert (await server.completion(server.offer()))["result"] == "succeeded"
        assert len(server.registrations) > count
        assert len({each["instance"] for each in server.registrations}) == 1


@pytest.mark.parametrize("status", [401, 426])
async def test_a_worker_that_is_not_welcome_ends_with_the_servers_reason(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker, status: int
) -> None:
    server.faults["registrations"].append(status)
    with pytest.raises(NotWelcome):
        async with worker(ready=False):
            await server.until(lambda: engine.log[-1:] == ["stop"])


async def test_a_lease_that_cannot_be_read_fails_and_work_goes_on(server: FakeServer, worker: StartWorker) -> None:
    async with worker():
        broken = server.offer()
        server.leases[-1]["version"]["interface"] = {"inputs": [{"name": ""}], "outputs": []}
        done = await server.completion(broken)
        assert done["error"]["code"] == "INTERNAL"
        await quicken(server)


async def test_stopping_gives_back_what_has_not_begun_and_lets_the_rest_finish(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    async with worker(grace=60.0) as agent:
        await quicken(server)
        engine.script = hold = Hold()
        first, second, third = (server.offer() for _ in range(3))
        await hold.until_began(first)
        await server.until(lambda: not server.leases and server.polls == 0)
        agent.stop()
        for lease_id in (second, third):
            assert (await server.completion(lease_id))["result"] == "released"
        hold.let_go(first)
        assert (await server.completion(first))["result"] == "succeeded"
    assert engine.log[-1] == "stop"
    assert engine.log.count("start") == 1


async def test_stopping_ends_a_run_that_does_not_finish_in_time_as_lost_to_the_worker(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.script = hold = Hold()
    async with worker(grace=0.05) as agent:
        lease_id = server.offer()
        await hold.until_began(lease_id)
        give_up = Attempt.stop

        def then_wait_for_its_word(attempt: Attempt, why: Stop) -> None:
            give_up(attempt, why)
            agent._settings = replace(agent._settings, grace=60.0)

        monkeypatch.setattr(Attempt, "stop", then_wait_for_its_word)
        agent.stop()
        done = await server.completion(lease_id)
    assert (done["result"], done["error"]["code"], done["error"]["retryable"]) == ("failed", "WORKER_LOST", True)
    assert done["nodes"] == []
    assert f"cancel {lease_id}" in engine.log


async def test_a_second_stop_does_not_wait(server: FakeServer, engine: ScriptedEngine, worker: StartWorker) -> None:
    engine.script = hold = Hold()
    async with worker(grace=3600.0) as agent:
        lease_id = server.offer()
        await hold.until_began(lease_id)
        agent.stop()
        agent.stop()
    assert lease_id not in server.completions


async def test_stopping_while_the_server_is_away_does_not_hang(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    engine.script = hold = Hold()
    async with worker(grace=0.05):
        lease_id = server.offer()
        await hold.until_began(lease_id)
        await server.stop()


def test_the_token_is_not_in_the_settings_text() -> None:
    assert "rf_work_x" not in repr(WorkerSettings("http://x", "rf_work_x", "n", Path(), Path()))


async def test_only_the_first_prompt_of_an_engine_s_life_is_a_cold_start(
    server: FakeServer, worker: StartWorker
) -> None:
    async with worker():
        runs = [await server.completion(server.offer()) for _ in range(3)]
    assert [done["timings"]["cold_start"] for done in runs] == [True, False, False]


async def test_the_server_hears_how_engines_start_once_that_is_known(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    engine.facts = SandboxFacts("namespaces", True, 3, None)
    async with worker():
        first = server.registrations[-1]
        assert first["sandbox"] is None
        engine.hold_settled.set()
        await server.until(lambda: server.registrations[-1]["sandbox"] is not None)
        told = server.registrations[-1]["sandbox"]
        assert (told["rung"], told["fork_level"], told["why_not_better"]) == ("namespaces", 3, None)
        count = len(server.registrations)
        assert (await server.completion(server.offer()))["result"] == "succeeded"
        assert len(server.registrations) == count, "it is told once"


async def test_the_worker_tells_what_a_run_had_to_load_and_what_is_loaded_when_it_asks(
    server: FakeServer, worker: StartWorker
) -> None:
    async with worker():
        runs = [await server.completion(server.offer(models_key=key)) for key in ("a", "a", "b", "")]
        await server.until(lambda: any(one["models"] == "b" for one in (server.asked[-1]["warm"] or [])[:1]))
    assert [done["timings"]["loaded"] for done in runs] == [True, False, True, False]
    assert server.asked[0]["warm"] == [] and server.asked[0]["idle"] is True
    assert server.asked[1]["warm"][0]["models"] == "a"


async def test_small_outputs_come_with_the_completion_and_the_next_run_with_its_answer(
    server: FakeServer, worker: StartWorker, no_beats: None
) -> None:
    async with worker():
        await quicken(server)
        await server.until(lambda: server.polls == 1)
        server.log.clear()
        lease_ids = [server.offer(inline_bytes=1 << 20) for _ in range(6)]
        for lease_id in lease_ids:
            done = await server.completion(lease_id)
            assert done["result"] == "succeeded"
            assert (done["outputs"][0]["object_key"], server.brought[lease_id]) == (None, png())
        told = list(server.log)
    assert "put" not in told and not any(line.startswith("uploads") for line in told)
    # The poll that was waiting, those for the runs to be held ahead, and one after the last answer without a run.
    assert told.count("leases") < len(lease_ids)


async def test_what_is_too_large_to_come_along_is_uploaded(
    server: FakeServer, worker: StartWorker, no_beats: None
) -> None:
    async with worker():
        lease_id = server.offer(inline_bytes=len(png()) - 1)
        done = await server.completion(lease_id)
    assert server.objects[done["outputs"][0]["object_key"]] == png()
    assert lease_id not in server.brought


async def test_a_run_that_comes_while_the_worker_leaves_is_given_back(
    server: FakeServer, worker: StartWorker, no_beats: None
) -> None:
    async with worker(grace=60) as agent:
        await quicken(server)
        server.polls_get_nothing, server.hold_answers = True, asyncio.Event()
        first = make_lease(inline_bytes=1 << 20)
        await server.until(lambda: server.polls == 1)
        server.leases.append(first)
        server.polls_get_nothing = False
        await server.until(lambda: not server.leases)
        server.polls_get_nothing = True
        await server.until(lambda: first["id"] in server.completions)
        late = server.offer(inline_bytes=1 << 20)
        agent.stop()
        server.hold_answers.set()
        assert (await server.completion(late))["result"] == "released"


async def test_a_worker_whose_name_another_process_has_ends_at_once(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    with pytest.raises(Superseded):
        async with worker(grace=3600.0):
            server.faults["leases"].append(409)
            await quicken(server)  # then the next question for work is the one that is refused
            await server.until(lambda: engine.log[-1:] == ["stop"])
    assert server.log.count("registrations") == len(server.registrations), "it does not take the name back"
