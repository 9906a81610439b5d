"""Why a run waits, decided from the connected workers."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from runflow.queue.waiting_reason import reason
from runflow.workers.queries import ConnectedWorker
from runflow.workflows.runtime.known import Machine
from runflow.workflows.runtime.satisfies import Difference, DifferenceCode, lacks_memory
from runflow.workflows.runtime.service import Fit


def worker(*differences: Difference, **more: Any) -> Fit:
    known = {"id": UUID(int=1), "name": "box", "gpu_code": "CPU", "status_code": "ready", "status_detail": None}
    row = ConnectedWorker(**{**known, "draining": False, "paused": False, **more})
    return Fit(Machine(row, None, None), differences, least_gb=30)


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


def test_what_is_too_large_for_every_gpu_says_how_large() -> None:
    small, larger = (worker(*lacks_memory(30, size), gpu_code="L4", memory_gb=size) for size in (16, 24))
    text = reason([small, larger], "auto")
    assert "needs about 30 GiB of GPU memory" in text and "the largest connected GPU has 24 GiB" in text
    assert "larger GPU" in text and "gpu_mode" in text
    lacking = reason([worker(*lacks_memory(30, 16), name="small", memory_gb=16), worker(LACKS)], "auto")
    assert "small has 16 GiB of GPU memory, where about 30 GiB are needed" in lacking and "box lacks" in lacking
    assert reason([small, worker(gpu_code="H100", memory_gb=80)], "auto") == "Waiting for a free worker."


def test_who_waits_for_the_cheapest_class_is_told_when_the_next_one_may_come() -> None:
    cheap, dear = (
        worker(gpu_code="L4", price_per_second=Decimal(1)),
        worker(gpu_code="H100", price_per_second=Decimal(2)),
    )
    text = reason([dear, cheap, worker()], "auto", 3)
    assert text == "Waiting for a worker of the GPU class L4; after 30 seconds of waiting, H100 may take it as well."
    assert reason([dear, cheap, worker()], "auto", 31) == "Waiting for a free worker."
    assert reason([dear, worker(LACKS, gpu_code="L4")], "auto", 3) == "Waiting for a free worker."
