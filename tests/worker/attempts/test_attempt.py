import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.base import EngineRefused, EngineUnreachable
from runflow.worker.engine.execution import EventKind, Execution, NodeError, Outcome
from runflow.worker.settings import Limits
from tests.support.fake_server import PROMPT, FakeServer, image_lease
from tests.worker.conftest import StartWorker
from tests.worker.scripted_engine import Flight, Hold, ScriptedEngine, png, save_picture

WIDE: dict[str, Any] = {
    "prompt": {
        **PROMPT,
        "1": {"class_type": "EmptyImage", "inputs": {**PROMPT["1"]["inputs"], "width": ["5", 0]}},
        "5": {"class_type": "RunflowInputInt", "inputs": {"input_id": "size"}},
    },
    "inputs": [{"name": "size", "variable_type_code": "int", "comfyui_node_id": "5", "comfyui_field_name": "value"}],
    "input": {"size": 7},
}
"""A lease whose picture is as wide as an input says."""


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


class TestNodeFailures:
    async def test_a_node_that_raises_fails_the_run_and_names_the_node(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        error = NodeError(
            FailureCode.EXECUTION_FAILED,
            "The node 1 (EmptyImage) raised ValueError: bad size.",
            "Run it in ComfyUI.",
            "1",
            "EmptyImage",
            "EmptyImage",
            "ValueError",
        )
        engine.script = ending(Outcome.FAILED, error)
        async with worker():
            done = await server.completion(server.offer())
        assert done["result"] == "failed"
        assert done["error"] == {
            "code": "EXECUTION_FAILED",
            "stage": "execute",
            "message": "The node 1 (EmptyImage) raised ValueError: bad size. Run it in ComfyUI.",
            "node_id": "1",
            "node_type": "EmptyImage",
            "details": {"title": "EmptyImage", "exception_type": "ValueError"},
            "retryable": False,
            "lacking": False,
        }
        [node] = done["nodes"]
        assert (node["node_id"], node["state_code"]) == ("1", "failed")
        assert "bad size" in node["error_message"]
        assert done["outputs"] == []

    async def test_the_input_behind_the_failing_node_is_named(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        raised = NodeError(
            FailureCode.EXECUTION_FAILED, "The node 1 (EmptyImage) raised X: no.", "Run it.", "1", "EmptyImage"
        )
        engine.script = ending(Outcome.FAILED, raised)
        async with worker():
            error = (await server.completion(server.offer(**WIDE)))["error"]
        assert error["message"] == (
            'The node 1 (EmptyImage) raised X: no. Check the values: its "width" comes from input "size".'
        )
        assert error["details"] == {"input": "size", "inputs": [{"name": "size", "field": "width"}]}

    @pytest.mark.parametrize(
        ("kind", "code", "said"),
        [
            ("value_bigger_than_max", "INPUT_VALIDATION_FAILED", 'Its "width" comes from input "size". Change this'),
            ("required_input_missing", "INPUT_VALIDATION_FAILED", 'Give input "size" a value.'),
        ],
    )
    async def test_a_value_that_the_engine_refuses_is_the_input_s_fault(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, kind: str, code: str, said: str
    ) -> None:
        problem = {"node_id": "1", "field": "width", "type": kind, "message": "The engine does not accept node 1."}
        refused = NodeError(
            FailureCode.WORKFLOW_INVALID, str(problem["message"]), "Repair it.", "1", "EmptyImage", details=(problem,)
        )
        engine.script = ending(Outcome.FAILED, refused, rejected=True)
        async with worker():
            error = (await server.completion(server.offer(**WIDE)))["error"]
        assert (error["code"], error["stage"], error["details"]["input"]) == (code, "preprocess", "size")
        assert error["message"].startswith(f"{problem['message']} {said}")

    @pytest.mark.parametrize(
        ("more", "values", "lacking"),
        [
            ({}, {}, True),
            (WIDE, {"size": 64}, False),
            ({**WIDE, "inputs": [{**WIDE["inputs"][0], "is_required": False, "default_value": 7}]}, {}, True),
        ],
        ids=["the prompt's own", "the caller's", "the version's default"],
    )
    async def test_a_model_that_the_caller_named_is_nothing_that_the_engine_lacks(
        self,
        server: FakeServer,
        engine: ScriptedEngine,
        worker: StartWorker,
        more: dict[str, Any],
        values: dict[str, Any],
        lacking: bool,
    ) -> None:
        problem = {"node_id": "1", "field": "width", "type": "value_not_in_list", "message": "It needs the model."}
        refused = NodeError(
            FailureCode.MODEL_MISSING, str(problem["message"]), "Put it there.", "1", "EmptyImage", details=(problem,)
        )
        engine.script = ending(Outcome.FAILED, refused, rejected=True)
        async with worker():
            error = (await server.completion(server.offer(**{**more, "input": values})))["error"]
        assert (error["code"], error["lacking"], error["retryable"]) == ("MODEL_MISSING", lacking, False)

    async def test_a_traceback_is_told_to_the_workflow_s_owner_alone(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        told = "nodes.py, line 3, in save\nValueError: no"
        raised = NodeError(FailureCode.EXECUTION_FAILED, "It broke.", "Mend it.", "1", "EmptyImage", traceback=told)
        engine.script = ending(Outcome.FAILED, raised)
        async with worker():
            for more, lines in (({"tracebacks": True}, [told]), ({"tracebacks": False}, []), ({}, [])):
                done = await server.completion(server.offer(**more))
                logged = [event["data"] for event in done["events"] if event["type"] == "log"]
                assert [line["message"] for line in logged] == lines
                assert all((line["level_code"], line["node_id"]) == ("error", "1") for line in logged)
                assert "line 3" not in str(done["error"])

    @pytest.mark.parametrize(
        ("code", "stage"),
        [
            (FailureCode.NODE_TYPE_MISSING, "prepare"),
            (FailureCode.WORKFLOW_INVALID, "prepare"),
            (FailureCode.INPUT_VALIDATION_FAILED, "preprocess"),
        ],
    )
    async def test_a_refused_prompt_failed_before_execution(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, code: FailureCode, stage: str
    ) -> None:
        problems = ({"node_id": "1", "message": "no"},)
        error = NodeError(code, "Refused.", "Repair it.", "1", "EmptyImage", None, None, problems)
        engine.script = ending(Outcome.FAILED, error, rejected=True)
        async with worker():
            done = await server.completion(server.offer())
        assert (done["error"]["code"], done["error"]["stage"]) == (code.value, stage)
        assert done["error"]["details"] == {"problems": list(problems)}
        assert done["error"]["retryable"] is False

    async def test_a_picture_that_the_engine_cannot_load_is_the_inputs_fault(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        async def refuse(engine: ScriptedEngine, flight: Flight) -> Execution:
            loader = next(node_id for node_id in flight.prompt if node_id.startswith("runflow_image"))
            error = NodeError(FailureCode.EXECUTION_FAILED, "It is truncated.", "Repair it.", loader, "LoadImage")
            return engine.end(Outcome.FAILED, error=error)

        engine.script = refuse
        async with worker():
            done = await server.completion(server.offer(**image_lease(server, png())))
        assert (done["error"]["code"], done["error"]["stage"]) == ("INPUT_VALIDATION_FAILED", "preprocess")
        assert 'Input "photo"' in done["error"]["message"]
        assert done["error"]["details"] == {"input": "photo"}
        assert done["error"]["node_id"] is None

    async def test_an_interrupt_by_somebody_else_is_not_the_runs_fault(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.script = ending(Outcome.INTERRUPTED)
        async with worker():
            done = await server.completion(server.offer())
        assert (done["error"]["code"], done["error"]["retryable"]) == ("EXECUTION_FAILED", True)


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


class TestOutputs:
    async def test_a_declared_output_without_a_file_fails_the_run(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.script = ending(Outcome.SUCCEEDED)
        async with worker():
            done = await server.completion(server.offer())
        assert (done["error"]["code"], done["error"]["stage"], done["error"]["node_id"]) == (
            "OUTPUT_MISSING",
            "collect",
            "9",
        )

    async def test_a_listed_file_that_is_gone_fails_the_run(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        async def vanish(engine: ScriptedEngine, flight: Flight) -> Execution:
            files = [{"filename": "gone.png", "subfolder": "x", "type": "output"}]
            return engine.end(Outcome.SUCCEEDED, {"9": {"images": files}})

        engine.script = vanish
        async with worker():
            done = await server.completion(server.offer())
            engine.remote = True
            fetched = await server.completion(server.offer())
        for each in (done, fetched):
            assert each["error"]["code"] == "OUTPUT_MISSING"
            assert "gone.png" in each["error"]["message"]

    @pytest.mark.parametrize(("put", "words"), [(os.mkfifo, "It is a named pipe"), (a_link_to_itself, "It is a link")])
    async def test_what_a_node_puts_in_the_place_of_a_file_fails_the_run_and_holds_up_no_other(
        self,
        server: FakeServer,
        engine: ScriptedEngine,
        worker: StartWorker,
        put: Callable[[Path], None],
        words: str,
    ) -> None:
        async def trap(engine: ScriptedEngine, flight: Flight) -> Execution:
            execution = engine.succeed(flight)
            path = engine.base / "output" / flight.prompt["9"]["inputs"]["output_subfolder"] / "runflow_00001_.png"
            path.unlink()
            put(path)
            return execution

        async with worker():
            engine.script = trap
            lease_id = server.offer()
            failed = await server.completion(lease_id)
            engine.script = save_picture
            done = await server.completion(server.offer())
        assert failed["error"]["code"] == "OUTPUT_MISSING"
        assert words in failed["error"]["message"]
        assert done["result"] == "succeeded"
        assert engine.begun[0] == engine.cleaned[0] == f"runflow/{lease_id}"

    async def test_outputs_of_an_engine_elsewhere_are_fetched_first(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.remote = True
        async with worker():
            done = await server.completion(server.offer())
        assert server.objects[done["outputs"][0]["object_key"]] == png()
        assert done["outputs"][0]["filename"] == "runflow_00001_.png"

    async def test_a_later_run_of_a_version_gets_its_upload_urls_with_the_lease(
        self, server: FakeServer, worker: StartWorker
    ) -> None:
        version = "0198c0de-0000-7000-8000-00000000aaaa"
        async with worker():
            for _ in range(3):  # a request for work may be under way while the first one produces its output
                lease_id = server.offer(version_id=version)
                done = await server.completion(lease_id)
        assert f"uploads {lease_id}" not in server.log
        assert server.objects[done["outputs"][0]["object_key"]] == png()

    async def test_a_wrong_guess_about_the_outputs_costs_one_more_request(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        version = "0198c0de-0000-7000-8000-00000000bbbb"
        async with worker():
            for _ in range(3):
                await server.completion(server.offer(version_id=version))

            async def renamed(engine: ScriptedEngine, flight: Flight) -> Execution:
                return engine.succeed(flight, name="other.png")

            engine.script = renamed
            lease_id = server.offer(version_id=version)
            done = await server.completion(lease_id)
        assert server.log.count(f"uploads {lease_id}") == 1
        assert done["outputs"][0]["filename"] == "other.png"
        assert server.objects[done["outputs"][0]["object_key"]] == png()

    async def test_a_file_over_the_limit_is_refused_with_the_next_step(
        self, server: FakeServer, worker: StartWorker
    ) -> None:
        async with worker():
            done = await server.completion(server.offer(max_output_bytes=10))
        assert done["error"]["code"] == "OUTPUT_UPLOAD_FAILED"
        assert done["error"]["retryable"] is False
        assert "RUNFLOW_MAX_OUTPUT_BYTES" in done["error"]["message"]

    async def test_a_workflow_without_declared_outputs_delivers_what_there_is(
        self, server: FakeServer, worker: StartWorker
    ) -> None:
        async with worker():
            done = await server.completion(server.offer(outputs=[]))
        assert [output["output_id"] for output in done["outputs"]] == ["9"]


class TestServerAway:
    async def test_a_result_waits_for_a_restarted_server(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.script = hold = Hold()
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            await server.stop()
            hold.let_go(lease_id)
            await server.until(lambda: f"end {lease_id}" in engine.log)
            await server.start()
            done = await server.completion(lease_id)
        assert done["result"] == "succeeded"
        assert server.objects[done["outputs"][0]["object_key"]] == png()

    @pytest.mark.parametrize("route", ["uploads", "put", "completions"])
    async def test_errors_of_the_server_are_outlived(self, server: FakeServer, worker: StartWorker, route: str) -> None:
        async with worker():
            server.faults[route].extend([503, 500])
            done = await server.completion(server.offer())
        assert done["result"] == "succeeded"

    async def test_a_completion_whose_answer_got_lost_is_sent_again_unchanged(
        self, server: FakeServer, worker: StartWorker
    ) -> None:
        server.hold_answers = asyncio.Event()
        async with worker():
            lease_id = server.offer()
            await server.completion(lease_id)
            await server.stop()
            server.hold_answers = None
            await server.start()
            await server.until(lambda: server.completion_requests[lease_id] == 2)

    async def test_storage_that_stays_broken_fails_the_run_for_another_try(
        self, server: FakeServer, worker: StartWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("runflow.worker.attempts.upload.FAILING_SECONDS", 0.05)
        async with worker():
            server.faults["put"].extend([507] * 100)
            done = await server.completion(server.offer())
        assert (done["error"]["code"], done["error"]["retryable"]) == ("OUTPUT_UPLOAD_FAILED", True)

    @pytest.mark.parametrize("status", [503, 413])
    async def test_outputs_that_cannot_come_along_are_uploaded(
        self, server: FakeServer, worker: StartWorker, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        monkeypatch.setattr("runflow.worker.attempts.attempt._BRING_SECONDS", 0)
        async with worker():
            server.faults["completions"].append(status)
            lease_id = server.offer(inline_bytes=1 << 20)
            done = await server.completion(lease_id)
        assert done["result"] == "succeeded"
        assert server.objects[done["outputs"][0]["object_key"]] == png()

    async def test_storage_that_takes_them_neither_way_says_so(
        self, server: FakeServer, worker: StartWorker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("runflow.worker.attempts.attempt._BRING_SECONDS", 0)
        monkeypatch.setattr("runflow.worker.attempts.upload.FAILING_SECONDS", 0.05)
        async with worker():
            server.faults["completions"].append(503)
            server.faults["put"].extend([507] * 100)
            done = await server.completion(server.offer(inline_bytes=1 << 20))
        assert (done["error"]["code"], done["error"]["retryable"]) == ("OUTPUT_UPLOAD_FAILED", True)
        assert done["outputs"] == []

    async def test_an_expired_upload_url_is_asked_for_again(self, server: FakeServer, worker: StartWorker) -> None:
        async with worker():
            server.faults["put"].append(403)
            lease_id = server.offer()
            done = await server.completion(lease_id)
        assert done["result"] == "succeeded"
        assert server.log.count(f"uploads {lease_id}") == 2

    async def test_an_expired_upload_url_of_the_lease_is_replaced(
        self, server: FakeServer, worker: StartWorker
    ) -> None:
        version = "0198c0de-0000-7000-8000-00000000cccc"
        async with worker():
            for _ in range(3):
                await server.completion(server.offer(version_id=version))
            server.faults["put"].append(403)
            lease_id = server.offer(version_id=version)
            done = await server.completion(lease_id)
        assert done["result"] == "succeeded"
        assert server.log.count(f"uploads {lease_id}") == 1

    async def test_a_refused_completion_becomes_a_plain_failure(self, server: FakeServer, worker: StartWorker) -> None:
        async with worker():
            server.faults["completions"].append(422)
            done = await server.completion(server.offer())
        assert (done["result"], done["error"]["code"], done["error"]["retryable"]) == ("failed", "INTERNAL", True)


class TestEngineFaults:
    async def test_a_crash_fails_the_run_for_another_try_and_the_engine_comes_back(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.script = hold = Hold()
        async with worker():
            lease_id = server.offer()
            await hold.until_began(lease_id)
            engine.crash("The engine was killed by signal 9.", "booting\nFile /home/me/secret.py: boom\nbye")
            done = await server.completion(lease_id)
            await server.until(lambda: server.registrations[-1]["status"] == "ready" and engine.starts == 2)
            engine.script = save_picture
            assert (await server.completion(server.offer()))["result"] == "succeeded"
        assert done["error"]["code"] == "ENGINE_CRASHED"
        assert done["error"]["retryable"] is True
        assert "signal 9" in done["error"]["message"]
        assert done["error"]["details"]["last_words"] == ["booting", "File secret.py: boom", "bye"]
        assert "engine_down" in [each["status"] for each in server.registrations]

    @pytest.mark.parametrize("again", [True, False])
    async def test_of_two_runs_inside_only_the_one_that_executed_is_blamed(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, again: bool
    ) -> None:
        async with worker():
            await server.completion(server.offer())
            engine.script = hold = Hold()
            first, second = server.offer(), server.offer()
            await hold.until_began(first)
            await server.until(lambda: f"submit {second}" in engine.log)
            engine.crash(again=again)
            blamed, innocent = await server.completion(first), await server.completion(second)
        assert (blamed["result"], blamed["error"]["code"]) == ("failed", "ENGINE_CRASHED")
        assert blamed["error"].get("retryable", False) is again
        assert innocent["result"] == "released"

    @pytest.mark.parametrize("error", [EngineUnreachable("No answer."), EngineRefused(500, "HTTP 500.")])
    async def test_an_engine_that_does_not_answer_is_probed_before_more_work(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker, error: Exception
    ) -> None:
        async def unanswered(engine: ScriptedEngine, flight: Flight) -> Execution:
            raise error

        engine.script = unanswered
        async with worker():
            done = await server.completion(server.offer())
            engine.script = save_picture
            assert (await server.completion(server.offer()))["result"] == "succeeded"
        assert (done["error"]["code"], done["error"]["retryable"]) == ("ENGINE_CRASHED", True)

    async def test_files_are_placed_again_in_an_engine_that_was_started_anew(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        lease = image_lease(server, png())
        engine.script = hold = Hold()
        async with worker():
            first = server.offer()
            await hold.until_began(first)
            second = server.offer(**lease)
            await server.until(lambda: len(engine.inputs) == 1)
            engine.inputs.clear()
            engine.script = save_picture
            engine.crash()
            assert (await server.completion(second))["result"] == "succeeded"
            assert len(engine.inputs) == 1

    async def test_a_run_that_finds_no_engine_is_given_back(
        self, server: FakeServer, engine: ScriptedEngine, worker: StartWorker
    ) -> None:
        engine.script = hold = Hold()
        async with worker(limits=Limits(engine=0.05)):
            first = server.offer()
            await hold.until_began(first)
            second = server.offer()
            await server.until(lambda: not server.leases)
            engine.start_error = EngineUnreachable("It does not come back.")
            engine.crash()
            assert (await server.completion(second))["result"] == "released"
