import json
import threading
from pathlib import Path
from typing import Any

import pytest

from plugin.answers import Refused
from plugin.cache_use import CacheUse
from plugin.cancellation import Cancelled
from plugin.deploy.plan import Machine, Plan, make_plan
from plugin.manifest.cached_models import CacheFolders
from plugin.manifest.hashes import Hashes
from tests.support.catalogue import FakeCatalogue, write

PROMPT: dict[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "local.png"}},
    "2": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo", "value": ["1", 0]}},
    "3": {"class_type": "LoadImage", "inputs": {"image": "constant.png"}},
    "4": {"class_type": "Blend", "inputs": {"a": ["2", 0], "b": ["3", 0], "ckpt_name": "m.safetensors"}},
    "5": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "out", "value": ["4", 0]}},
}
SECRET, OTHER_SECRET = "rf_live_SECRET", "rf_live_OTHER"
GRAPH: dict[str, Any] = {
    "nodes": [
        {"id": 9, "type": "RunflowDeploy", "widgets_values": ["My Flow", "http://h", SECRET]},
        {"id": 4, "type": "Note", "widgets_values": [f"my keys are {SECRET} and {OTHER_SECRET}"]},
    ],
    "links": [],
    "extra": {"ds": 1},
}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for name in ("local.png", "constant.png"):
        write(tmp_path / "input" / name, name)
    write(tmp_path / "models/checkpoints/m.safetensors", "weights")
    write(tmp_path / "custom_nodes/pack/a.py")
    ours = "custom_nodes.pack"
    classes: dict[str, Any] = {
        "LoadImage": (False, "nodes", {}),
        "RunflowInputImage": (False, ours, {}),
        "RunflowOutputImage": (True, ours, {}),
        "Blend": (False, "comfy_extras.nodes_blend", {}),
    }
    catalogue = FakeCatalogue(tmp_path, classes, {"checkpoints": [tmp_path / "models/checkpoints"]})
    caches = CacheUse(CacheFolders(tmp_path / "hub", tmp_path / "torch"), lambda: ["Blend"])
    return Machine(tmp_path, tmp_path / "input", catalogue, Hashes(tmp_path / "hashes.json"), caches)


def plan(machine: Machine, name: str = " My Flow ", prompt: Any = PROMPT, graph: Any = GRAPH) -> Plan:
    return make_plan(name, prompt, graph, (SECRET, OTHER_SECRET), machine, lambda *_: None, threading.Event())


def test_a_whole_plan(machine: Machine) -> None:
    made = plan(machine)
    assert (made.name, made.slug) == ("My Flow", "my-flow")
    assert [file.path for file, _ in made.files] == ["constant.png"]
    body = made.body
    assert body["workflow_json"]["2"]["inputs"] == {"input_id": "photo"}
    assert set(body["models"]) == {"checkpoints/m.safetensors"}
    assert set(body["custom_nodes"]) == {"pack"}
    assert body["graph"]["extra"]["ds"] == 1
    assert body["graph"]["extra"]["runflow"]["models"] == body["models"]
    assert {"comfyui", "packages", "cached_models", "python"} <= set(body["environment"])
    assert "rf_live" not in json.dumps(body)
    assert "http://h" not in json.dumps(body)
    assert SECRET in json.dumps(GRAPH)  # the caller's own stays as it is


def test_the_summary_names_what_goes_out_and_what_has_no_source(machine: Machine) -> None:
    summary = plan(machine).summary()
    assert summary["files"] == [{"path": "constant.png", "size_bytes": 12}]
    assert summary["models"] == [{"path": "checkpoints/m.safetensors", "size_bytes": 7, "url": None}]
    assert summary["custom_nodes"][0]["commit"] is None
    assert summary["cached_models"] == []
    assert "workflow_json" not in summary


def test_what_its_nodes_took_from_caches_is_told(machine: Machine, tmp_path: Path) -> None:
    content = write(tmp_path / "hub/models--org--name/snapshots" / ("a" * 40) / "config.json", "{}")
    mine = write(tmp_path / "torch/checkpoints/mine.pth", "weights")
    write(tmp_path / "hub/models--org--other/refs/main", "b" * 40)
    for path in (content, mine):
        machine.caches.hear("open", (str(path), "r", 0))  # type: ignore[attr-defined]
    made = plan(machine)
    (repository,) = made.body["environment"]["cached_models"]["huggingface"]
    assert (repository["repo"], [file["path"] for file in repository["files"]]) == ("org/name", ["config.json"])
    assert [row["name"] for row in made.summary()["cached_models"]] == ["org/name", "mine.pth"]
    assert [model.path for model in made.local_models] == [
        "checkpoints/m.safetensors",
        "torch/hub/checkpoints/mine.pth",
    ]


def test_nodes_of_which_nobody_knows_what_they_load_are_named(machine: Machine, tmp_path: Path) -> None:
    prompt = {**PROMPT, "4": {**PROMPT["4"], "class_type": "Custom"}}
    machine.catalogue.classes["Custom"] = (False, "custom_nodes.pack", {})  # type: ignore[attr-defined]

    def told() -> list[str]:
        return [text for text in plan(machine, prompt=prompt).warnings if "Hugging Face" in text]

    assert told() == [], "the caches are empty"
    write(tmp_path / "hub/models--org--name/refs/main", "b" * 40)
    (warning,) = told()
    assert "Custom" in warning and "Run the workflow once" in warning
    machine.caches.succeeded = lambda: [prompt]  # type: ignore[method-assign]
    assert told() == []


@pytest.mark.parametrize("name", ["", "   ", "日本語", "--__"])
def test_a_name_without_a_slug(machine: Machine, name: str) -> None:
    with pytest.raises(Refused, match="endpoint_name must be URL-safe"):
        plan(machine, name)


@pytest.mark.parametrize(
    "prompt", [None, [], {}, {"1": {"class_type": "X"}}, {"1": {"class_type": "X", "inputs": {"a": ["9", 0]}}}]
)
def test_a_workflow_that_is_none(machine: Machine, prompt: Any) -> None:
    with pytest.raises(Refused) as raised:
        plan(machine, prompt=prompt)
    assert raised.value.code == "WORKFLOW_INVALID"


@pytest.mark.parametrize(
    ("prompt", "why"),
    [({}, "the workflow is empty"), ({"1": PROMPT["1"], "2": PROMPT["2"]}, "no node of this workflow")],
)
def test_what_comfyui_would_not_run_is_told_before_anything_is_sent(machine: Machine, prompt: Any, why: str) -> None:
    with pytest.raises(Refused, match=why) as raised:
        plan(machine, prompt=prompt)
    assert "Add the nodes that make a result and a Runflow Output node" in raised.value.message


def test_a_warning_says_what_to_do(machine: Machine) -> None:
    unwired = {"class_type": "RunflowOutputImage", "inputs": {"output_id": "other"}}
    (warning,) = [
        text for text in plan(machine, prompt={**PROMPT, "6": unwired}).warnings if "Nothing is wired" in text
    ]
    assert warning.endswith("so every run will fail. Wire its value or remove the node.")


def test_one_warning_of_two_nodes_is_told_once(machine: Machine) -> None:
    twin = {"class_type": "RunflowOutputImage", "inputs": {"output_id": "twin", "value": ["4", 0]}}
    told = plan(machine, prompt={**PROMPT, "6": twin, "7": twin}).warnings
    assert len([text for text in told if "share the output_id" in text]) == 1


def test_progress_names_the_model_and_cancelling_stops_it(machine: Machine) -> None:
    steps: list[str] = []
    make_plan("x", PROMPT, GRAPH, (), machine, lambda step, *_: steps.append(step), threading.Event())
    assert "Hashing m.safetensors (1 of 1)" in steps
    cancelled = threading.Event()
    cancelled.set()
    write(machine.input_folder / "constant.png", "changed now")
    with pytest.raises(Cancelled):
        make_plan("x", PROMPT, GRAPH, (), machine, lambda *_: None, cancelled)


def test_a_missing_node_is_named(machine: Machine) -> None:
    strange = {"class_type": "Strange", "inputs": {"UNKNOWN": 1}, "_meta": {"title": "Mine"}}
    prompt = {**PROMPT, "6": strange, **{str(number): strange for number in range(10, 16)}}
    with pytest.raises(Refused) as raised:
        plan(machine, prompt=prompt)
    assert raised.value.code == "NODE_TYPE_MISSING"
    assert 'node 6 "Mine" (Strange)' in raised.value.message
    assert "and 2 more. Install them with Auto setup" in raised.value.message


def test_a_file_that_cannot_be_read_is_named(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Hashes, "sha256", locked)
    with pytest.raises(Refused, match=r"constant\.png cannot be read: Permission denied"):
        plan(machine)
