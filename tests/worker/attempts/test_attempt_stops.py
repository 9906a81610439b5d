import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.engine.base import Ability
from runflow.worker.engine.execution import EventKind, Execution, NodeError, OnEvent, Outcome, Prompt
from runflow.worker.settings import Limits
from tests.support.fake_server import FakeServer, image_lease
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import Flight, Hold, ScriptedEngine, png, save_picture


def ending(outcome: Outcome, error: NodeError | None = None, **more: Any) -> Callable[..., Any]:
    async def script(engine: ScriptedEngine, flight: Flight) -> Execution:
        if error is not None and error.node_id is not None and not more.get("rejected"):
            engine.tell(flight, EventKind.NODE_STARTED, node_id=error.node_id)
        return engine.end(outcome, error=error, **more)

    return script


@pytest.fixture
def quick_beats(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.lease_seconds = 1
    monkeypatch.setattr("runflow.worker.agent._FIRST_BEAT_SECONDS", 0.01)


class TestCancellation:
    async def test_a_cancelled_run_is_stopped_exactly_and_completed_as_cancelled(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        engine.script = hold = Hold()
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            server.cancel.add(lease_id)
            done = await server.completion(lease_id)
            await server.until(lambda: engine.cleaned == [f"runflow/{lease_id}"])
            engine.script = save_picture
            assert (await server.completion(server.offer()))["result"] == "succeeded"
        assert done["result"] == "cancelled"
        assert done["error"] is None
        assert done["timings"]["execute_ms"] > 0, "the engine worked for it until the stop"
        assert done["timings"]["started_at"] is not None
        assert engine.log.count(f"cancel {lease_id}") == 1
        assert engine.starts == 1

    async def test_a_cancelled_run_does_not_wait_for_all_that_its_engine_left(
        self,
        server: FakeServer,
        engine: ScriptedEngine,
        worker: StartWorker,
        quick_beats: None,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("runflow.worker.attempts.execute._GONE_SECONDS", 0.01)
        engine.script = hold = Hold()
        engine.obeys, engine.hold_stop = False, asyncio.Event()
        async with worker(limits=Limits(stop=0.01)):
            lease_id = server.offer()
            await hold.until_began(lease_id)
            server.cancel.add(lease_id)
            assert (await server.completion(lease_id))["result"] == "cancelled"
            assert engine.log[-1] == f"end {lease_id}" and engine.alive
            engine.hold_stop.set()

    async def test_a_prompt_that_we_lose_sight_of_is_stopped(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.script = hold = Hold()
        execute = engine.execute

        async def faulty(prompt: Prompt, prompt_id: str, on_event: OnEvent | None = None) -> Execution:
            executing = asyncio.create_task(execute(prompt, prompt_id, on_event))
            await hold.until_began(prompt_id)
            monkeypatch.undo()
            engine.script = save_picture
            raise RuntimeError(f"No eyes for {executing}.")

        monkeypatch.setattr(engine, "execute", faulty)
        async with worker():
            lease_id = server.offer()
            done = await server.completion(lease_id)
            assert (done["error"]["code"], done["error"]["retryable"]) == ("INTERNAL", True)
            assert f"cancel {lease_id}" in engine.log
            assert (await server.completion(server.offer()))["result"] == "succeeded"

    async def test_a_run_is_cancelled_while_its_files_are_fetched(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        server.hold_downloads = asyncio.Event()
        lease = image_lease(server, png())
        async with worker():
            lease_id = server.offer(**lease)
            await server.until(lambda: "get" in server.log)
            server.cancel.add(lease_id)
            done = await server.completion(lease_id)
            assert (done["result"], done["timings"]["execute_ms"]) == ("cancelled", 0)
            server.hold_downloads.set()
        assert f"submit {lease_id}" not in engine.log

    async def test_a_run_is_cancelled_while_it_waits_for_its_turn(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        engine.script = hold = Hold()
        async with worker():
            first, second = server.offer(), server.offer()
            await hold.until_began(first)
            await server.until(lambda: server.heartbeats[second])
            server.cancel.add(second)
            assert (await server.completion(second))["result"] == "cancelled"
            hold.let_go(first)
            assert (await server.completion(first))["result"] == "succeeded"
        assert f"submit {second}" not in engine.log

    async def test_a_run_is_cancelled_while_its_outputs_are_stored(
        self, server: FakeServer, worker: StartWorker, quick_beats: None
    ) -> None:
        server.hold_puts = asyncio.Event()
        async with worker():
            lease_id = server.offer()
            await server.until(lambda: "put" in server.log)
            server.cancel.add(lease_id)
            done = await server.completion(lease_id)
            server.hold_puts.set()
        assert (done["result"], done["outputs"]) == ("cancelled", [])

    async def test_a_node_that_ignores_interrupts_costs_the_engine_its_life(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        engine.script = hold = Hold()
        engine.obeys = False
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            server.cancel.add(lease_id)
            assert (await server.completion(lease_id))["result"] == "cancelled"
            engine.script = save_picture
            assert (await server.completion(server.offer()))["result"] == "succeeded"
        assert engine.starts == 2

    async def test_an_engine_that_is_not_ours_is_left_alone(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        engine.script = hold = Hold()
        engine.obeys = False
        engine.abilities = frozenset({Ability.EXACT_INTERRUPT})
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            server.cancel.add(lease_id)
            assert (await server.completion(lease_id))["result"] == "cancelled"
            assert engine.log.count("stop") == 0


class TestTimeLimit:
    async def test_a_run_over_its_time_is_stopped_exactly(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.script = Hold()
        async with worker():
            lease_id = server.offer(timeout_seconds=0.05)
            done = await server.completion(lease_id)
        assert (done["error"]["code"], done["error"]["stage"], done["error"]["retryable"]) == (
            "RUN_TIMEOUT",
            "execute",
            False,
        )
        assert "0.05 seconds" in done["error"]["message"]
        assert f"cancel {lease_id}" in engine.log

    async def test_waiting_for_the_engine_does_not_count(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        async with worker():
            await server.completion(server.offer())
            engine.script = hold = Hold()
            first, second = server.offer(), server.offer(timeout_seconds=0.05)
            await server.until(lambda: f"submit {second}" in engine.log)
            # The worker's timers are of this loop: one that had been set by now would have rung before this one.
            await asyncio.sleep(0.05)
            beats = len(server.heartbeats[second])
            await server.until(lambda: len(server.heartbeats[second]) > beats)
            assert second not in server.completions and f"cancel {second}" not in engine.log
            hold.let_go(first)
            assert (await server.completion(first))["result"] == "succeeded"
            done = await server.completion(second)
            assert (done["error"]["code"], done["error"]["stage"]) == ("RUN_TIMEOUT", "execute")

    async def test_fetching_that_takes_longer_is_stopped_too(self, server: FakeServer, worker: StartWorker) -> None:
        server.hold_downloads = asyncio.Event()
        lease = image_lease(server, png())
        async with worker():
            done = await server.completion(server.offer(timeout_seconds=0.05, **lease))
            server.hold_downloads.set()
        assert (done["error"]["code"], done["error"]["stage"]) == ("RUN_TIMEOUT", "prepare")


class TestLostLease:
    async def finish(self, server: FakeServer, engine: ScriptedEngine, lease_id: str) -> None:
        """The worker cleans up, says nothing, and goes on with the next run."""
        await server.until(lambda: engine.cleaned == [f"runflow/{lease_id}"])
        assert lease_id not in server.completions
        engine.script = save_picture
        assert (await server.completion(server.offer()))["result"] == "succeeded"

    async def test_while_files_are_fetched(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None, tmp_path: Path
    ) -> None:
        server.hold_downloads = asyncio.Event()
        lease, staging = image_lease(server, png()), tmp_path / "worker" / "staging"
        async with worker():
            lease_id = server.offer(**lease)
            await server.until(lambda: "get" in server.log)
            server.lost.add(lease_id)
            await server.until(lambda: not list(staging.iterdir()))
            assert (lease_id in server.completions, engine.begun) == (False, [])
            assert (await server.completion(server.offer()))["result"] == "succeeded"
            server.hold_downloads.set()

    async def test_while_it_executes(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        engine.script = hold = Hold()
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            server.lost.add(lease_id)
            await self.finish(server, engine, lease_id)
        assert f"cancel {lease_id}" in engine.log

    async def test_when_upload_urls_are_asked_for(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.script = hold = Hold()
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            server.lost.add(lease_id)
            hold.let_go(lease_id)
            await self.finish(server, engine, lease_id)
        assert not any(lease_id in key for key in server.objects)

    async def test_while_outputs_are_stored(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        server.hold_puts = asyncio.Event()
        async with worker():
            lease_id = server.offer()
            await server.until(lambda: "put" in server.log)
            server.lost.add(lease_id)
            server.hold_puts.set()
            await self.finish(server, engine, lease_id)
        assert server.completion_requests[lease_id] == 1

    async def test_after_a_cancellation_nothing_is_said_either(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, quick_beats: None
    ) -> None:
        engine.script = hold = Hold()
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            server.cancel.add(lease_id)
            server.lost.add(lease_id)
            await self.finish(server, engine, lease_id)
