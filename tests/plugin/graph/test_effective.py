"""What a run uses for an optional input that is left out; each time compared with what `bind` leaves."""

from typing import Any

import pytest

from runflow.graph import Interface, bind, read_interface, with_effective_defaults


def node(class_type: str, /, meta: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    made = {"class_type": class_type, "inputs": inputs}
    return {**made, "_meta": {"runflow_widgets": meta}} if meta is not None else made


def optional(kind: str = "Int", **widgets: Any) -> dict[str, Any]:
    return node(f"RunflowInput{kind}", input_id="x", required=False, **widgets)


def effective(*nodes: dict[str, Any]) -> Any:
    (spec,) = read_interface({str(at): each for at, each in enumerate(nodes, 1)}).inputs
    return spec.effective_default


def sampler(held: object = 20) -> dict[str, Any]:
    return node("KSampler", {"steps": held}, steps=["1", 0])


def test_the_widget_behind_it() -> None:
    prompt = {"1": optional(), "2": sampler(), "3": node("Other", {"steps": 20}, steps=["1", 0])}
    interface = read_interface(prompt)
    (spec,) = interface.inputs
    assert (spec.default_value, spec.effective_default) == (None, 20)
    bound = bind(prompt, interface, {}, files={})
    assert (bound["2"]["inputs"], bound["3"]["inputs"]) == ({"steps": 20}, {"steps": 20})


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([optional(default_value="8"), sampler()], 8),
        ([optional(value=8), sampler()], 8),
        ([optional(), sampler(), node("Other", {"n": 30}, n=["1", 0])], None),
        ([optional(), sampler(1), node("Other", {"n": True}, n=["1", 0])], None),
        ([optional(), sampler(), node("Other", n=["1", 0])], None),
        ([optional(), sampler("many")], None),
        ([optional("Float"), sampler(20)], 20.0),
        ([optional("Choice", choices="a\nb"), node("K", {"s": "b"}, s=["1", 0])], "b"),
        ([optional("File", file_name="a.stl")], "a.stl"),
        ([optional("File")], None),
        ([optional()], None),
        ([node("RunflowInputInt", input_id="x", required=True), sampler()], None),
    ],
)
def test_one_value_or_none(nodes: list[dict[str, Any]], expected: object) -> None:
    found = effective(*nodes)
    assert (found, type(found)) == (expected, type(expected))


def test_twins_have_to_agree() -> None:
    prompt = {"1": optional(), "2": sampler(), "3": optional(), "4": node("Other", {"n": 30}, n=["3", 0])}
    assert read_interface(prompt).inputs[0].effective_default is None
    prompt["4"]["_meta"]["runflow_widgets"]["n"] = 20
    assert read_interface(prompt).inputs[0].effective_default == 20


@pytest.mark.parametrize(
    ("field", "required", "default", "expected"),
    [("steps", False, None, 20), ("steps", False, 5, 5), ("steps", True, None, None), ("model", False, None, None)],
)
def test_a_row_on_any_field(field: str, required: bool, default: object, expected: object) -> None:
    prompt = {"1": node("Loader"), "2": node("KSampler", steps=20, model=["1", 0])}
    row = {"name": "x", "variable_type_code": "int", "comfyui_node_id": "2", "comfyui_field_name": field}
    given = Interface.from_dict({"inputs": [row | {"is_required": required, "default_value": default}]})
    assert with_effective_defaults(prompt, given).inputs[0].effective_default == expected
