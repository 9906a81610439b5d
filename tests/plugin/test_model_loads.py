"""How the plugin measures what a prompt loads, by a clock of the test's own."""

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from plugin import model_loads
from plugin.model_loads import FIELD, MOST_NODES, ModelLoads


class Clock:
    """Goes on only when it is told to. In seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def takes(self, seconds: float) -> None:
        self.now += seconds


class Server:
    """ComfyUI's server: it knows which node it executes, and tells pages what happens."""

    def __init__(self) -> None:
        self.last_node_id: str | None = None
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send_sync(self, event: str, data: dict[str, Any], sid: str | None = None) -> None:
        self.sent.append((event, data))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def loads(server: Server, clock: Clock) -> ModelLoads:
    return ModelLoads(server, clock)


def executing(monkeypatch: pytest.MonkeyPatch, node: str | None) -> None:
    """Let ComfyUI say that this thread executes a node."""
    context = None if node is None else SimpleNamespace(node_id=node)
    utils = SimpleNamespace(get_executing_context=lambda: context)
    monkeypatch.setitem(sys.modules, "comfy_execution.utils", utils)


def test_what_a_node_loads_is_told_at_the_end_by_node(
    loads: ModelLoads, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = loads.measured(clock.takes)
    loads.heard("execution_start", {})
    executing(monkeypatch, "4")
    load(2.0)
    clock.takes(50)
    executing(monkeypatch, "3")
    load(0.5)
    load(0.25)
    end: dict[str, Any] = {}
    loads.heard("execution_success", end)
    assert end == {FIELD: {"ms": 2750, "nodes": {"4": 2000, "3": 750}}}
    loads.heard("execution_start", {})
    again: dict[str, Any] = {}
    loads.heard("execution_error", again)
    assert again == {FIELD: {"ms": 0, "nodes": {}}}, "each prompt begins at nothing"


def test_a_loader_inside_a_loader_counts_once(loads: ModelLoads, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    executing(monkeypatch, "4")
    inner = loads.measured(clock.takes)

    def outer() -> None:
        clock.takes(1)
        inner(2.0)

    loads.measured(outer)()
    assert loads.told() == {"ms": 3000, "nodes": {"4": 3000}}


def test_a_loader_that_raises_is_measured_and_raises(
    loads: ModelLoads, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    executing(monkeypatch, "4")

    def broken() -> None:
        clock.takes(1)
        raise ValueError("no model")

    for _ in range(2):
        with pytest.raises(ValueError, match="no model"):
            loads.measured(broken)()
    assert loads.told()["ms"] == 2000


def test_threads_that_load_at_the_same_time_count_once_in_all(
    loads: ModelLoads, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    executing(monkeypatch, None)
    server.last_node_id = "7"
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        assert go_on.wait(30)

    other = threading.Thread(target=loads.measured(wait))
    other.start()
    assert inside.wait(30)
    clock.takes(1)
    loads.measured(clock.takes)(2.0)
    assert loads.told()["ms"] == 3000, "what is still being loaded counts"
    go_on.set()
    other.join()
    assert loads.told() == {"ms": 3000, "nodes": {"7": 5000}}


def test_a_load_that_began_before_the_prompt_counts_from_its_begin(
    loads: ModelLoads, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    executing(monkeypatch, "1")

    def long() -> None:
        clock.takes(10)
        loads.heard("execution_start", {})
        clock.takes(1)

    loads.measured(long)()
    assert loads.told() == {"ms": 1000, "nodes": {"1": 1000}}


def test_a_node_that_another_one_made_is_told_as_the_page_shows_it(
    loads: ModelLoads, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads.heard("execution_start", {})
    loads.heard("executing", {"node": "3.0.1", "display_node": "3"})
    executing(monkeypatch, "3.0.1")
    loads.measured(clock.takes)(1.0)
    assert loads.told()["nodes"] == {"3": 1000}


def test_no_more_nodes_are_told_than_anyone_reads(
    loads: ModelLoads, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(MOST_NODES + 5):
        executing(monkeypatch, str(number))
        loads.measured(clock.takes)(1.0 + number)
    executing(monkeypatch, "x" * 1000)
    loads.measured(clock.takes)(1e6)
    told = loads.told()["nodes"]
    assert len(told) == MOST_NODES and "0" not in told and str(MOST_NODES + 4) in told and "x" * 1000 not in told


@pytest.fixture
def comfyui(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A ComfyUI of which only one loader is known."""
    for name in model_loads.LOADERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    management = SimpleNamespace(load_models_gpu=lambda models: [*models], other=None)
    monkeypatch.setitem(sys.modules, "comfy.model_management", management)
    yield management


def test_what_a_release_lacks_is_passed_over(comfyui: SimpleNamespace, server: Server) -> None:
    model_loads.watch(server)
    assert comfyui.load_models_gpu(["a"]) == ["a"]
    end: dict[str, Any] = {"prompt_id": "p"}  # ComfyUI keeps this very object for the history
    server.send_sync("execution_success", end)
    assert set(end[FIELD]) == {"ms", "nodes"}
    assert server.sent == [("execution_success", end)]


def test_without_any_loader_the_server_goes_on(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    for name in model_loads.LOADERS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    model_loads.watch(server)
    server.send_sync("executing", {"node": None})
    server.send_sync("progress", "no object")  # type: ignore[arg-type]
    assert [event for event, _ in server.sent] == ["executing", "progress"]
