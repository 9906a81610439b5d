"""Protocol replays: what the session does when messages, sockets or history entries come late, twice or never."""

import asyncio
import struct
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from runflow.protocol.events import NodeState
from runflow.protocol.failures import FailureCode
from runflow.worker.engine.base import EngineCrashed, EngineRefused, EngineUnreachable
from runflow.worker.engine.execution import EngineEvent, EventKind, Outcome
from runflow.worker.engine.protocol import ComfyClient
from runflow.worker.engine.session import _CANCEL_STEP_SECONDS, PromptSession
from runflow.worker.engine.told import MOST_CHARACTERS
from tests.support.waiting import until
from tests.worker.engine.replay import Replay

PROMPT = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
}
FILE = {"images": [{"filename": "a.png", "subfolder": "runs/a", "type": "output"}]}


@pytest.fixture
async def replay() -> AsyncIterator[Replay]:
    server = Replay()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def session(replay: Replay) -> AsyncIterator[PromptSession]:
    client = ComfyClient(replay.url)
    opened = PromptSession(client, unreachable_seconds=0.5)
    await opened.open()
    yield opened
    await opened.close()
    await client.close()


def new_id() -> str:
    return str(uuid.uuid4())


async def test_the_history_may_come_after_the_message_that_says_so(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    await replay.send("executing", node=None, prompt_id=prompt_id)
    await until(lambda: len(replay.history_asked) >= 3)
    replay.finish(prompt_id, {"2": FILE})
    execution = await running
    assert execution.outcome is Outcome.SUCCEEDED
    assert execution.outputs == {"2": FILE}
    assert execution.execute_ms == 42


async def test_events_and_timings_follow_the_messages(replay: Replay, session: PromptSession) -> None:
    prompt_id, events = new_id(), list[EngineEvent]()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id, events.append))
    await replay.arrived.wait()
    await replay.send("execution_start", prompt_id=prompt_id)
    await replay.send("execution_cached", prompt_id=prompt_id, nodes=["1"])
    await replay.send("executing", prompt_id=prompt_id, node="2", display_node="2")
    await replay.send("progress", prompt_id=prompt_id, node="2", value=3, max=20)
    await replay.send("executed", prompt_id=prompt_id, node="2", display_node="2", output=FILE)
    replay.finish(prompt_id, {"2": FILE})
    await replay.send("executing", node=None, prompt_id=prompt_id)
    execution = await running
    assert [event.kind for event in events] == [
        EventKind.STARTED,
        EventKind.NODE_FINISHED,
        EventKind.NODE_STARTED,
        EventKind.PROGRESS,
        EventKind.NODE_FINISHED,
    ]
    assert (events[3].value, events[3].maximum, events[3].nodes_total) == (3, 20, 2)
    assert [(node.node_id, node.state) for node in execution.nodes] == [
        ("1", NodeState.CACHED),
        ("2", NodeState.SUCCEEDED),
    ]
    assert execution.nodes[0].duration_ms == 0
    assert execution.nodes[1].duration_ms is not None


async def test_a_picture_belongs_to_its_prompt_and_node(replay: Replay, session: PromptSession) -> None:
    prompt_id, events = new_id(), list[EngineEvent]()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id, events.append))
    await replay.arrived.wait()
    assert replay.features == [{"supports_preview_metadata": True}]
    told = orjson.dumps({"prompt_id": prompt_id, "node_id": "2", "image_type": "image/png"})
    await replay.send_bytes(struct.pack(">II", 4, len(told)) + told + b"picture")
    await replay.send_bytes(struct.pack(">II", 1, 1) + b"before anything began")
    await replay.send("execution_start", prompt_id=prompt_id)
    await replay.send("executing", prompt_id=prompt_id, node="1", display_node="1")
    await replay.send_bytes(struct.pack(">II", 1, 1) + b"of an older version")
    replay.finish(prompt_id, {"2": FILE})
    await replay.send("executing", node=None, prompt_id=prompt_id)
    await running
    shown = [(event.node_id, event.preview and event.preview.content) for event in events if event.preview]
    assert shown == [("2", b"picture"), ("1", b"of an older version")]


async def tell(replay: Replay, prompt_id: str) -> None:
    """Tell the whole of a prompt that succeeds, as ComfyUI does."""
    await replay.send("execution_start", prompt_id=prompt_id, timestamp=1000)
    await replay.send("execution_cached", prompt_id=prompt_id, nodes=[])
    await replay.send("executed", prompt_id=prompt_id, node="2", display_node="2", output=FILE)
    await replay.send("execution_success", prompt_id=prompt_id, timestamp=1042)


async def test_what_the_socket_told_in_full_is_not_asked_for(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    await tell(replay, prompt_id)
    execution = await running
    assert (execution.outcome, execution.outputs) == (Outcome.SUCCEEDED, {"2": FILE})
    assert execution.execute_ms == 42
    assert replay.history_asked == []
    replay.finish(prompt_id, {"2": FILE})  # ComfyUI writes it after it said so, and it is deleted all the same
    await replay.send("executing", node=None, prompt_id=prompt_id)
    await until(lambda: replay.forgotten == [prompt_id])


async def test_after_a_message_that_is_no_json_the_history_is_asked(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    await replay.sockets[replay.clients[-1]].send_str('{"type": "executed", "data": {"output": NaN}}')
    await tell(replay, prompt_id)
    replay.finish(prompt_id, {"2": FILE, "3": FILE})
    await replay.send("executing", node=None, prompt_id=prompt_id)
    assert (await running).outputs == {"2": FILE, "3": FILE}


async def test_after_a_socket_that_was_lost_the_history_is_asked(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    await replay.send("execution_start", prompt_id=prompt_id, timestamp=1000)
    await replay.drop_sockets()
    await until(lambda: len(replay.clients) == 2)
    await tell(replay, prompt_id)
    replay.finish(prompt_id, {"2": FILE, "3": FILE})
    await replay.send("executing", node=None, prompt_id=prompt_id)
    assert (await running).outputs == {"2": FILE, "3": FILE}


async def test_two_prompts_in_flight_get_their_own_results(replay: Replay, session: PromptSession) -> None:
    first, second = new_id(), new_id()
    tasks = [asyncio.create_task(session.execute(PROMPT, one)) for one in (first, second)]
    await until(lambda: len(replay.submitted) == 2)
    for one in (second, first):
        replay.finish(one, {"2": {"text": [one]}})
        await replay.send("executing", node=None, prompt_id=one)
    assert [(await task).outputs for task in tasks] == [{"2": {"text": [first]}}, {"2": {"text": [second]}}]
    assert session.in_flight == 0


async def test_a_lost_socket_loses_no_prompt_and_gets_a_new_client_id(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    await replay.drop_sockets()
    replay.finish(prompt_id, {"2": FILE})
    assert (await asyncio.wait_for(running, 60)).outcome is Outcome.SUCCEEDED
    await until(lambda: len(replay.clients) == 2)
    assert len(set(replay.clients)) == 2


async def test_without_any_socket_prompts_still_run(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runflow.worker.engine.session._SOCKET_SECONDS", 0.1)
    replay.refuse_sockets = True
    client = ComfyClient(replay.url)
    session = PromptSession(client)
    await session.open()
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await asyncio.wait_for(replay.arrived.wait(), 60)
    replay.finish(prompt_id)
    assert (await asyncio.wait_for(running, 60)).outcome is Outcome.SUCCEEDED
    await session.close()
    await client.close()


async def test_a_prompt_that_the_engine_forgot_is_a_crash(replay: Replay, session: PromptSession) -> None:
    running = asyncio.create_task(session.execute(PROMPT, new_id()))
    await replay.arrived.wait()
    replay.running.clear()  # somebody cleared the queue, or the engine is another process now
    await replay.drop_sockets()
    with pytest.raises(EngineCrashed, match="no longer knows the prompt"):
        await asyncio.wait_for(running, 60)


async def test_an_engine_that_stays_away_is_unreachable(replay: Replay, session: PromptSession) -> None:
    running = asyncio.create_task(session.execute(PROMPT, new_id()))
    await replay.arrived.wait()
    await replay.stop()
    with pytest.raises(EngineUnreachable, match="does not answer"):
        await asyncio.wait_for(running, 60)
    await replay.start()


async def test_the_end_of_the_process_ends_every_prompt_at_once(replay: Replay, session: PromptSession) -> None:
    running = asyncio.create_task(session.execute(PROMPT, new_id()))
    await replay.arrived.wait()
    session.fail_all(EngineCrashed("It was killed."))
    with pytest.raises(EngineCrashed, match="It was killed"):
        await running
    with pytest.raises(EngineCrashed, match="It was killed"):
        await session.execute(PROMPT, new_id())


@pytest.mark.parametrize("arrived", ["before", "after"])
async def test_a_lost_answer_neither_loses_nor_doubles_the_prompt(
    replay: Replay, session: PromptSession, arrived: str
) -> None:
    prompt_id = new_id()
    replay.drop_submission = arrived
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await until(lambda: prompt_id in replay.running)
    await replay.drop_sockets()
    replay.finish(prompt_id)
    assert (await asyncio.wait_for(running, 60)).outcome is Outcome.SUCCEEDED
    assert len(replay.submitted) == (2 if arrived == "before" else 1)


async def test_an_old_engine_may_give_an_id_of_its_own_and_talk_before_it_answers(
    replay: Replay, session: PromptSession
) -> None:
    """ComfyUI before 0.3.45 ignores the id that it is given."""

    async def talk_first(engine_id: str) -> None:
        await replay.send("execution_start", prompt_id=engine_id)
        await replay.send("executing", prompt_id=engine_id, node="2", display_node="2")
        replay.finish(engine_id, {"2": FILE})
        await replay.send("executing", node=None, prompt_id=engine_id)
        await asyncio.sleep(0.05)

    replay.own_ids, replay.before_answer = ["theirs"], talk_first
    execution = await asyncio.wait_for(session.execute(PROMPT, new_id()), 60)
    assert execution.outputs == {"2": FILE}
    assert [node.node_id for node in execution.nodes] == ["2"]


async def test_a_partly_valid_prompt_is_refused_and_its_valid_part_stopped(
    replay: Replay, session: PromptSession
) -> None:
    error = {"type": "required_input_missing", "message": "Required input is missing", "details": "images"}
    replay.answer = (200, {"number": 1, "node_errors": {"2": {"class_type": "SaveImage", "errors": [error]}}})
    execution = await session.execute(PROMPT, new_id())
    assert execution.rejected
    assert execution.outcome is Outcome.FAILED
    assert execution.error is not None
    assert execution.error.code is FailureCode.WORKFLOW_INVALID
    assert replay.interrupted == [replay.submitted[0]["prompt_id"]]
    assert not replay.running


async def test_a_waiting_prompt_is_cancelled_although_it_leaves_no_trace(
    replay: Replay, session: PromptSession
) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    replay.running.clear()
    replay.pending.append(prompt_id)
    assert await session.cancel(prompt_id)
    assert (await running).outcome is Outcome.INTERRUPTED
    assert replay.interrupted == []


async def test_cancelling_the_caller_stops_the_prompt(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: replay.interrupted == [prompt_id])


class Deaf(list[str]):
    """A list of running prompts from which none can be removed."""

    def remove(self, _: str) -> None:
        pass


async def test_a_caller_that_left_does_not_make_us_ask_without_end(replay: Replay, session: PromptSession) -> None:
    prompt_id, events = new_id(), list[EngineEvent]()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id, events.append))
    await replay.arrived.wait()
    await replay.send("execution_start", prompt_id=prompt_id)
    await until(lambda: events)
    replay.running = Deaf(replay.running)
    began = time.monotonic()
    running.cancel()
    await asyncio.wait([running])
    await until(lambda: replay.queue_asked >= 4)
    assert replay.queue_asked <= 2 + (time.monotonic() - began) / _CANCEL_STEP_SECONDS


async def test_a_listener_that_raises_stops_nothing(replay: Replay, session: PromptSession) -> None:
    def broken(_: EngineEvent) -> None:
        raise ValueError("broken listener")

    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id, broken))
    await replay.arrived.wait()
    await replay.send("execution_start", prompt_id=prompt_id)
    replay.finish(prompt_id)
    await replay.send("executing", node=None, prompt_id=prompt_id)
    assert (await asyncio.wait_for(running, 60)).outcome is Outcome.SUCCEEDED


async def test_a_prompt_that_does_not_listen_is_reported_as_still_there(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    replay.running = Deaf(replay.running)
    assert not await session.cancel(prompt_id, timeout=0.3)
    session.fail_all(EngineCrashed("killed for it"))
    with pytest.raises(EngineCrashed):
        await running


async def test_history_entries_are_deleted_after_reading(replay: Replay, session: PromptSession) -> None:
    ids = [new_id() for _ in range(16)]
    tasks = [asyncio.create_task(session.execute(PROMPT, one)) for one in ids]
    await until(lambda: len(replay.submitted) == 16)
    for one in ids:
        replay.finish(one)
        await replay.send("executing", node=None, prompt_id=one)
    await asyncio.gather(*tasks)
    await until(lambda: sorted(replay.forgotten) == sorted(ids))


async def test_the_twin_of_a_node_gets_its_files(replay: Replay, session: PromptSession) -> None:
    prompt = {**PROMPT, "3": PROMPT["2"]}
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(prompt, prompt_id))
    await replay.arrived.wait()
    replay.finish(prompt_id, {"2": FILE, "3": None})
    await replay.send("executing", node=None, prompt_id=prompt_id)
    assert (await running).outputs == {"2": FILE, "3": FILE}


async def test_an_answer_that_is_no_json_names_the_status(replay: Replay, session: PromptSession) -> None:
    replay.answer = (500, {"oops": True})
    with pytest.raises(Exception, match="HTTP 500"):
        await session.execute(PROMPT, new_id())


@pytest.mark.parametrize(
    "output", [{"text": ["x" * (16 << 20)]}, {"text": [[] for _ in range(1_000_001)]}], ids=["long", "many"]
)
async def test_what_is_too_much_to_read_is_a_failure_of_the_workflow(
    replay: Replay, session: PromptSession, output: dict[str, object]
) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    replay.finish(prompt_id, {"2": output})
    await replay.send("executing", node=None, prompt_id=prompt_id)
    execution = await running
    assert execution.outcome is Outcome.FAILED and execution.error is not None
    assert execution.error.code is FailureCode.EXECUTION_FAILED
    assert "too much" in execution.error.message and "file" in execution.error.next_step


async def test_messages_of_strangers_are_not_gathered_without_end(replay: Replay, session: PromptSession) -> None:
    """Before an old engine has said under which id it runs the prompt, a message may be of any."""
    kept: list[int] = []

    async def talk_first(_: str) -> None:
        for number in range(12):
            await replay.send("executed", prompt_id=f"other-{number}", node="2", output={"text": ["x" * (1 << 20)]})
        await until(lambda: len(session._orphans) >= 7)
        kept.append(session._orphaned)

    replay.own_ids, replay.before_answer = ["theirs"], talk_first
    running = asyncio.create_task(session.execute(PROMPT, new_id()))
    await replay.arrived.wait()
    await until(lambda: "theirs" in replay.running)
    replay.finish("theirs", {"2": FILE})
    await replay.send("executing", node=None, prompt_id="theirs")
    assert (await asyncio.wait_for(running, 60)).outcome is Outcome.SUCCEEDED
    assert kept and kept[0] <= MOST_CHARACTERS


@pytest.mark.parametrize("text", ["," * 2_000_000, "ä" * 4_000_000], ids=["marks", "escaped"])
async def test_what_a_prompt_brings_itself_is_not_held_against_its_nodes(
    replay: Replay, session: PromptSession, text: str
) -> None:
    prompt: dict[str, Any] = {**PROMPT, "3": {"class_type": "Text", "inputs": {"text": text}}}
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(prompt, prompt_id))
    await replay.arrived.wait()
    replay.finish(prompt_id, {"2": FILE}, status_str="error", messages=[["execution_error", {"node_id": "3"}]])
    replay.history[prompt_id]["prompt"] = [1, prompt_id, prompt]
    await replay.send("executing", node=None, prompt_id=prompt_id)
    execution = await asyncio.wait_for(running, 60)
    assert execution.error is not None and "raised" in execution.error.message


async def test_a_node_that_says_its_prompt_has_ended_is_not_believed(replay: Replay, session: PromptSession) -> None:
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    await replay.send("executing", node=None, prompt_id=prompt_id)
    await until(lambda: len(replay.history_asked) >= 11 and replay.queue_asked)
    replay.finish(prompt_id, {"2": FILE})
    assert (await asyncio.wait_for(running, 60)).outcome is Outcome.SUCCEEDED


async def test_a_prompt_that_nobody_waits_for_any_more_is_taken_off(
    replay: Replay, session: PromptSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def confused(*_: object) -> None:
        raise RuntimeError("our own fault")

    monkeypatch.setattr("runflow.worker.engine.session.read_history", confused)
    prompt_id = new_id()
    running = asyncio.create_task(session.execute(PROMPT, prompt_id))
    await replay.arrived.wait()
    replay.finish(prompt_id)
    replay.running.append(prompt_id)  # it goes on, whatever its history says
    await replay.send("executing", node=None, prompt_id=prompt_id)
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(running, 60)
    assert await session.cancel(prompt_id)
    assert prompt_id in replay.interrupted


async def test_an_answer_about_the_queue_that_is_none_is_an_error_of_the_engine(replay: Replay) -> None:
    async with ComfyClient(replay.url) as client:
        strange: list[Any] = [{}, [], {"queue_running": [7], "queue_pending": []}]
        for replay.queue_says in strange:
            with pytest.raises(EngineRefused, match="understood"):
                await client.queue()
