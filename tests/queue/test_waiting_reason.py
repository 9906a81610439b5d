"""Why a run waits, decided from the connected workers."""

from types import SimpleNamespace
from typing import Any

from runflow.queue.waiting_reason import reason


def worker(**more: Any) -> Any:
    known = {"name": "box", "gpu_code": "CPU", "status_code": "ready", "status_detail": None}
    return SimpleNamespace(**{**known, "draining": False, "paused": False, **more})


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
