import os
import time
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import Interface
from runflow.worker.store.resources import ResourceCache, use_placed

PLACED = {"ref/style.png": "runflow/L/0-style.png"}


def row(name: str, kind: str, node_id: str, field: str, default: object = None) -> dict[str, Any]:
    return {
        "name": name,
        "variable_type_code": kind,
        "comfyui_node_id": node_id,
        "comfyui_field_name": field,
        "default_value": default,
        "is_required": False,
    }


def test_the_default_of_a_file_input_follows_its_resource() -> None:
    prompt = {"1": {"class_type": "RunflowInputFile", "inputs": {"file_name": "ref/style.png"}}}
    interface = Interface.from_dict({"inputs": [row("file", "file", "1", "value", "ref/style.png")]})
    rewritten, moved, values = use_placed(prompt, interface, {}, PLACED)
    assert rewritten["1"]["inputs"]["file_name"] == "runflow/L/0-style.png"
    assert moved.inputs[0].default_value == "runflow/L/0-style.png"
    assert values == {}
    assert interface.inputs[0].default_value == "ref/style.png"


def test_a_callers_text_that_chooses_a_resource_follows_it_and_any_other_text_stays() -> None:
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "ref/style.png"}},
        "2": {"class_type": "RunflowInputString", "inputs": {"input_id": "text"}},
    }
    interface = Interface.from_dict(
        {"inputs": [row("style", "string", "1", "image"), row("text", "string", "2", "value")]}
    )
    given = {"style": "ref/style.png", "text": "ref/style.png"}
    _, _, values = use_placed(prompt, interface, given, PLACED)
    assert values == {"style": "runflow/L/0-style.png", "text": "ref/style.png"}


JSON = st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(st.text(max_size=3), st.dictionaries(st.text(max_size=3), JSON, max_size=4), max_size=4))
def test_a_prompt_without_the_path_stays_as_it_is(nodes: dict[str, dict[str, Any]]) -> None:
    prompt = {node_id: {"class_type": "X", "inputs": inputs} for node_id, inputs in nodes.items()}
    assert use_placed(prompt, Interface(), {}, PLACED)[0] == prompt


def test_the_oldest_files_go_first_and_the_half_written_ones_of_a_killed_worker(tmp_path: Path) -> None:
    cache = ResourceCache(tmp_path, limit_bytes=250)
    for age, name in enumerate(["newest", "older", "oldest"]):
        (tmp_path / name).write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (time.time() - age * 100,) * 2)
    abandoned, fresh = tmp_path / "a.part", tmp_path / "b.part"
    for path in (abandoned, fresh):
        path.write_bytes(b"")
    os.utime(abandoned, (0, 0))
    cache.prune()
    assert {path.name for path in tmp_path.iterdir()} == {"newest", "older", "b.part"}
