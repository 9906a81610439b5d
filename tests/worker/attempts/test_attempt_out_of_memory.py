"""Memory runs out inside a node: the engine holds nothing of it when its next prompt comes."""

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.base import Ability
from runflow.worker.engine.execution import EventKind, Execution, NodeError, Outcome
from tests.support.fake_server import FakeServer
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import Flight, ScriptedEngine

ERROR = NodeError(FailureCode.OUT_OF_MEMORY, "Out of memory.", "Use less.", "1", "EmptyImage")


async def run_out(engine: ScriptedEngine, flight: Flight) -> Execution:
    engine.tell(flight, EventKind.NODE_STARTED, node_id="1")
    return engine.end(Outcome.FAILED, error=ERROR)


async def test_out_of_memory_is_worth_another_try_in_an_engine_that_holds_nothing(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    async with worker():
        await server.completion(server.offer())
        assert engine.starts == 1
        first = server.offer()
        engine.scripts[first] = run_out
        failed = await server.completion(first)
        assert (failed["error"]["code"], failed["error"]["retryable"]) == ("OUT_OF_MEMORY", True)
        done = await server.completion(server.offer())
    assert done["result"] == "succeeded" and done["timings"]["cold_start"]
    assert engine.starts >= 2 and "free" not in engine.log


async def test_an_engine_that_is_not_ours_is_asked_to_give_up_its_models_when_memory_runs_out(
    server: FakeServer, engine: ScriptedEngine, worker: StartWorker
) -> None:
    engine.abilities -= {Ability.KILL}
    async with worker():
        first = server.offer()
        engine.scripts[first] = run_out
        await server.completion(first)
        second = server.offer()
        assert (await server.completion(second))["result"] == "succeeded"
    assert engine.starts == 1
    assert engine.log.index("free") < engine.log.index(f"submit {second}")
