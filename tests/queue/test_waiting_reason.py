"""Why a run waits, decided from the connected workers."""

from types import SimpleNamespace
from typing import Any

from runflow.queue.waiting_reason import reason
from runflow.workflows.runtime.known import Machine
from runflow.workflows.runtime.satisfies import Difference, DifferenceCode
from runflow.workflows.runtime.service import Fit


def worker(*differences: Difference, **more: Any) -> Fit:
    known = {"name": "box", "gpu_code": "CPU", "status_code": "ready", "status_detail": None}
    row: Any = SimpleNamespace(**{**known, "draining": False, "paused": False, **more})
    return Fit(Machine(row, None, None), differences)


LACKS = Difference(DifferenceCode.NODE_TYPE_MISSING, "lacks the node class X (pack Y)", "Install the node pack Y.")
TOLD = Difference(DifferenceCode.COMFYUI_DIFFERS, "has ComfyUI 1", "Test it.", keeps_away=False)


def test_no_worker_at_all() -> None:
    assert "runflow worker" in reason([], "auto")


def test_no_worker_of_the_gpu_class() -> None:
    text = reason([worker(), worker(gpu_code="L4")], "H100,A100")
    assert "H100,A100" in text and "CPU, L4" in text and "gpu_mode" in text


def test_a_worker_without_an_engine_says_what_to_do() -> None:
    detail = "There is no ComfyUI. Run `runflow comfyui install`."
    assert detail in reason([worker(status_code="no_engine", status_detail=detail)], "auto")


def test_one_that_could_take_it() -> None:
    assert reason([worker(), worker(status_code="engine_down")], "CPU") == "Waiting for a free worker."


def test_a_worker_that_drains_is_no_help() -> None:
    assert reason([worker(draining=True)], "CPU").startswith("The worker box is draining")
    assert reason([worker(draining=True), worker()], "CPU") == "Waiting for a free worker."


def test_a_worker_that_does_not_answer_is_no_help() -> None:
    assert "does not answer what it is offered" in reason([worker(paused=True), worker(draining=True)], "CPU")
    assert reason([worker(paused=True), worker()], "CPU") == "Waiting for a free worker."


def test_what_is_missing_is_named_with_the_worker_and_the_next_step() -> None:
    text = reason([worker(LACKS), worker(LACKS, name="other", gpu_code="L4")], "CPU")
    assert text == "No connected worker can run it: box lacks the node class X (pack Y). Install the node pack Y."
    both = reason([worker(LACKS), worker(LACKS, TOLD, name="box-2")], "auto")
    assert "box lacks" in both and "; box-2 lacks" in both and "ComfyUI 1" not in both


def test_one_that_has_it_all_is_waited_for_whatever_others_lack() -> None:
    assert reason([worker(LACKS), worker(TOLD, name="box-2")], "auto") == "Waiting for a free worker."
    assert reason([worker(LACKS), worker(draining=True, name="b")], "auto").startswith("The worker b is draining")


def test_who_waits_for_a_better_class_is_told_when_the_next_one_may_come() -> None:
    text = reason([worker(gpu_code="A100")], "L40S,A100", 3)
    assert "L40S" in text and "30 seconds" in text and "A100 may take it" in text
    assert reason([worker(gpu_code="A100")], "L40S,A100", 31) == "Waiting for a free worker."


def test_what_another_organizations_public_workflow_lacks_is_told_to_its_owner() -> None:
    text = reason([worker(LACKS)], "auto", is_own=False)
    assert "owner" in text
    assert "X" not in text and "pack" not in text and "box" not in text


def test_what_keeps_workers_from_another_organizations_workflow_is_told_without_their_names() -> None:
    detail = "The pack Y of box could not be imported."
    for found in (
        [worker(status_code="engine_down", status_detail=detail)],
        [worker(draining=True), worker(paused=True)],
        [worker(draining=True), worker(LACKS)],
    ):
        text = reason(found, "auto", is_own=False)
        assert "operator" in text and "box" not in text and "pack" not in text
    assert reason([worker(draining=True), worker(name="b")], "auto", is_own=False) == "Waiting for a free worker."
    assert "Ask its owner" in reason([worker()], "H100", is_own=False)
    later = reason([worker(gpu_code="A100")], "L40S,A100", 3, is_own=False)
    assert "L40S" in later and "box" not in later
