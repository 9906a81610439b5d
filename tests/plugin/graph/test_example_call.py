from typing import Any

import pytest

from plugin.graph import InputSpec, example_value


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
