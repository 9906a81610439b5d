from typing import Any

import pytest

from runflow.graph import InputSpec, InputType, InterfaceError, OutputSpec

ROW: dict[str, Any] = {
    "name": "seed",
    "variable_type_code": "INT",
    "comfyui_node_id": "3",
    "comfyui_field_name": "seed",
}


def test_a_row_as_an_api_sends_it_is_read() -> None:
    spec = InputSpec.from_dict({**ROW, "id": "0190", "origin": "manual", "default_value": "5", "validator_code": None})
    assert spec == InputSpec("seed", InputType.INT, "seed", "", True, 5, 0, "3", "seed", "manual")
    assert list(spec.to_dict()) == [
        "name",
        "variable_type_code",
        "display_name",
        "description",
        "is_required",
        "default_value",
        "sort_order",
        "comfyui_node_id",
        "comfyui_field_name",
        "origin",
    ]
    assert spec.to_dict()["variable_type_code"] == "int"


def test_an_output_row_is_read() -> None:
    row = {"name": "image", "variable_type_code": "image", "comfyui_node_id": "9", "display_name": None}
    assert OutputSpec.from_dict(row) == OutputSpec("image", InputType.IMAGE, "image", "", 0, "9", "value", "node")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "An input: name must be a text"),
        ({"name": 5}, "An input: name must be a text"),
        ({"variable_type_code": "number"}, 'Input "seed": variable_type_code is wrong'),
        ({"comfyui_node_id": 3}, 'Input "seed": comfyui_node_id must be a text'),
        ({"is_required": "yes"}, 'Input "seed": is_required must be true or false'),
        ({"default_value": "many"}, 'Input "seed": default_value takes an integer'),
        ({"sort_order": True}, 'Input "seed": sort_order must be an integer'),
        ({"origin": "robot"}, 'Input "seed": origin must be one of node, manual'),
        ({"description": 3}, 'Input "seed": description must be a text'),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InterfaceError) as raised:
        InputSpec.from_dict({**ROW, **change})
    assert str(raised.value).startswith(message)
