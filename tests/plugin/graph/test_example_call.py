import json
import shlex
from typing import Any

import pytest

from plugin.graph import InputSpec, Interface, curl_command, example_value, read_interface

PROMPT = {
    "1": {"class_type": "RunflowInputString", "inputs": {"input_id": "it's", "required": True}},
    "2": {"class_type": "RunflowInputInt", "inputs": {"input_id": "steps", "default_value": "20", "min": 8}},
    "3": {"class_type": "RunflowInputImage", "inputs": {"input_id": "photo", "required": True}},
    "4": {"class_type": "RunflowInputImage", "inputs": {"input_id": "mask", "required": False}},
    "5": {"class_type": "RunflowInputFloat", "inputs": {"input_id": "strength", "required": False}},
    "6": {"class_type": "RunflowInputChoice", "inputs": {"input_id": "sampler", "choices": "euler\nddim"}},
}
RUNS = "http://127.0.0.1:8700/v1/comfyui-workflows/default/portrait/runs"


def sent(interface: Interface) -> dict[str, Any]:
    """What the command sends as input."""
    body = json.loads(shlex.split(curl_command(RUNS, interface).replace("\\\n", " "))[-1])
    values: dict[str, Any] = body["input"]
    return values


def test_the_command_names_the_real_inputs_and_takes_the_key_from_the_shell() -> None:
    interface = read_interface(PROMPT)
    words = shlex.split(curl_command(RUNS, interface).replace("\\\n", " "))
    assert words[:2] == ["curl", f"{RUNS}?wait=60"]
    assert "Authorization: Bearer $RUNFLOW_API_KEY" in words
    values = sent(interface)
    # An optional input without a known default is left out: that says what no value says.
    assert list(values) == ["it's", "steps", "photo", "sampler"]
    assert (values["steps"], values["sampler"]) == (20, "euler")
    assert values["photo"].startswith("https://")
    assert sent(Interface()) == {}


def test_a_long_seed_is_sent_exactly() -> None:
    prompt = {"1": {"class_type": "RunflowInputInt", "inputs": {"input_id": "seed", "default_value": str(2**64 - 1)}}}
    assert sent(read_interface(prompt)) == {"seed": 2**64 - 1}


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("int", {"min": 512, "max": 1024}),
        ("int", {"step": 8}),
        ("int", {"step": 8, "max": 7}),
        ("int", {"min": -9, "max": -3, "step": 4}),
        ("int", {"max": -3}),
        ("float", {"max": -0.5}),
        ("string", {"max_length": 3}),
        ("string", {"min_length": 200, "max_length": 210}),
        ("string", {"choices": ["euler", "ddim"]}),
    ],
)
def test_an_example_keeps_the_limits(kind: str, attributes: dict[str, Any]) -> None:
    row = {"name": "n", "variable_type_code": kind, "comfyui_node_id": "1", "validator_attrs": attributes}
    spec = InputSpec.from_dict(row)
    value = example_value(spec)
    assert spec.limits.refusal(value) is None
    assert type(value) is {"int": int, "float": float, "string": str}[kind]


def test_an_example_is_never_longer_than_a_command_may_be() -> None:
    row = {
        "name": "n",
        "variable_type_code": "string",
        "comfyui_node_id": "1",
        "validator_attrs": {"min_length": 10**9},
    }
    assert len(example_value(InputSpec.from_dict(row))) < 2000


def test_what_a_run_would_use_anyway_comes_first() -> None:
    row = {"name": "n", "variable_type_code": "int", "comfyui_node_id": "1", "effective_default": 20}
    assert example_value(InputSpec.from_dict(row)) == 20
    assert example_value(InputSpec.from_dict({**row, "default_value": 30})) == 30
