from typing import Any

import pytest

from plugin.deploy.endpoint import describe_interface, next_version, published_interface
from plugin.graph import InputType, read_interface

PROMPT = {
    "1": {"class_type": "RunflowInputString", "inputs": {"input_id": "it's", "required": True}},
    "2": {
        "class_type": "RunflowInputInt",
        "inputs": {"input_id": "steps", "default_value": "20", "min": 8, "max": "64"},
    },
    "3": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo", "required": True}},
    "4": {"class_type": "RunflowInputImage", "inputs": {"input_id": "mask", "required": False}},
    "5": {"class_type": "RunflowInputFloat", "inputs": {"input_id": "strength", "required": False}},
    "6": {"class_type": "RunflowInputChoice", "inputs": {"input_id": "sampler", "choices": "euler\nddim"}},
    "7": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "picture"}},
}
INTERFACE = read_interface(PROMPT)


def test_the_summary_tells_every_input_and_output() -> None:
    told = describe_interface(INTERFACE)
    assert told["outputs"] == [{"name": "picture", "type": "image"}]
    assert [row["name"] for row in told["inputs"]] == ["it's", "steps", "photo", "mask", "strength", "sampler"]
    assert told["inputs"][1] == {"name": "steps", "type": "int", "required": True, "default": 20, "limits": "8 to 64"}
    assert (told["inputs"][3]["required"], told["inputs"][3]["default"]) == (False, None)
    assert told["inputs"][5]["limits"] == "one of euler, ddim"


def test_a_long_seed_is_told_exactly() -> None:
    prompt = {"1": {"class_type": "RunflowInputInt", "inputs": {"input_id": "seed", "default_value": str(2**64 - 1)}}}
    (row,) = describe_interface(read_interface(prompt))["inputs"]
    assert row["default"] == "18446744073709551615"


def test_the_servers_record_knows_inputs_that_a_person_added_there() -> None:
    row: dict[str, Any] = {"name": "seed", "variable_type_code": "int", "comfyui_node_id": "9"}
    published = published_interface({"inputs": [row], "outputs": []}, INTERFACE)
    assert [(spec.name, spec.variable_type_code) for spec in published.inputs] == [("seed", InputType.INT)]
    records: list[dict[str, Any]] = [{}, {"inputs": None, "outputs": []}]
    records += [{"inputs": [row], "outputs": []} for row in [3, {}]]
    for record in records:
        assert published_interface(record, INTERFACE) is INTERFACE


@pytest.mark.parametrize(
    ("existing", "words"),
    [
        (None, ""),
        ({"path": "default/a", "version": "2"}, "version 3 of default/a"),
        ({"path": "default/a", "version": None}, "a new version of default/a"),
        ({"slug": "a", "version": "x"}, "a new version of a"),
    ],
)
def test_which_version_it_would_be(existing: dict[str, Any] | None, words: str) -> None:
    assert next_version(existing) == words
