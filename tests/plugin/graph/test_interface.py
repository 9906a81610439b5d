import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import (
    InputSpec,
    InputType,
    Interface,
    InterfaceError,
    OutputSpec,
    PromptError,
    check_prompt,
    check_targets,
    node_order,
    read_interface,
)
from tests.plugin.graph.prompt_strategies import few_examples, prompts


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def problems(prompt: object) -> list[str]:
    with pytest.raises(InterfaceError) as raised:
        read_interface(prompt)
    return [problem.message for problem in raised.value.problems]


def test_every_widget_is_read() -> None:
    prompt = {
        "12": node(
            "RunflowInputString", input_id="prompt", display_name="Prompt", description="What to paint", required=False
        ),
        "9:3": node("RunflowInputImage", input_id="Aux Reference 1", display_name="", description=""),
        "13": node("RunflowOutputImage", output_id="image", output_name="Picture", value=["9:3", 0]),
    }
    image, text = read_interface(prompt).inputs
    assert image == InputSpec(
        name="Aux Reference 1",
        variable_type_code=InputType.IMAGE,
        display_name="Aux Reference 1",
        description="",
        is_required=True,
        default_value=None,
        sort_order=0,
        comfyui_node_id="9:3",
        comfyui_field_name="value",
        origin="node",
    )
    assert (text.display_name, text.description, text.is_required, text.sort_order) == (
        "Prompt",
        "What to paint",
        False,
        1,
    )
    assert read_interface(prompt).outputs == (
        OutputSpec("image", InputType.IMAGE, "Picture", "", 0, "13", "value", "node"),
    )


def test_the_order_is_by_number_and_not_by_text_or_position() -> None:
    prompt = {node_id: node("RunflowInputInt", input_id=f"n{node_id}") for node_id in ("10", "9:12", "x", "9:3", "2")}
    assert [spec.name for spec in read_interface(prompt).inputs] == ["n2", "n9:3", "n9:12", "n10", "nx"]


@pytest.mark.parametrize("inputs", [{}, {"input_id": ""}, {"input_id": "  "}, {"input_id": None}])
def test_an_input_without_id_is_skipped(inputs: dict[str, Any]) -> None:
    assert read_interface({"1": {"class_type": "RunflowInputInt", "inputs": inputs}}).inputs == ()


@pytest.mark.parametrize(
    ("class_type", "name"), [("RunflowOutputImage", "image_output"), ("RunflowOutputFile", "file_output")]
)
def test_an_output_without_id_gets_the_default_one(class_type: str, name: str) -> None:
    assert [spec.name for spec in read_interface({"1": node(class_type, output_id=" ")}).outputs] == [name]


@pytest.mark.parametrize(
    ("class_type", "widgets", "default"),
    [
        ("RunflowInputString", {"value": "a cat"}, "a cat"),
        ("RunflowInputString", {"value": ""}, ""),
        ("RunflowInputInt", {"value": 7}, 7),
        ("RunflowInputInt", {"value": "7"}, 7),
        ("RunflowInputFloat", {"value": 1}, 1.0),
        ("RunflowInputBoolean", {"value": False}, False),
        ("RunflowInputInt", {"value": ["9", 0]}, None),
        ("RunflowInputInt", {"value": None}, None),
        ("RunflowInputInt", {"default_value": "7"}, 7),
        ("RunflowInputInt", {"default_value": 7, "value": 8}, 8),
        ("RunflowInputInt", {"default_value": "7", "value": ["9", 0]}, 7),
        ("RunflowInputInt", {"default_value": ""}, None),
        ("RunflowInputString", {"default_value": "none"}, "none"),
        ("RunflowInputBoolean", {"default_value": "none"}, None),
        ("RunflowInputBoolean", {"default_value": "false"}, False),
        ("RunflowInputBoolean", {"default_value": False}, False),
        ("RunflowInputChoice", {"choices": "a\nb", "default_value": "b"}, "b"),
        ("RunflowInputImage", {"value": ["9", 0]}, None),
        ("RunflowInputImage", {"value": ""}, None),
        ("RunflowInputFile", {"file_name": "mesh.glb"}, "mesh.glb"),
        ("RunflowInputFile", {"file_name": "mesh.glb", "value": ["9", 0]}, "mesh.glb"),
        ("RunflowInputFile", {"file_name": "mesh.glb", "value": "other.glb"}, "other.glb"),
        ("RunflowInputFile", {"file_name": "mesh.glb", "value": ""}, "mesh.glb"),
        ("RunflowInputFile", {"file_name": "", "value": ""}, None),
        ("RunflowInputFile", {}, None),
    ],
)
def test_a_literal_left_in_the_prompt_is_the_default_and_a_link_is_not(
    class_type: str, widgets: dict[str, Any], default: object
) -> None:
    (spec,) = read_interface({"1": node(class_type, input_id="x", **widgets), "9": node("AnyNode")}).inputs
    assert spec.default_value == default
    assert type(spec.default_value) is type(default)


def test_a_default_that_does_not_fit_its_type_is_named() -> None:
    (message,) = problems({"4": node("RunflowInputInt", input_id="steps", value="many")})
    assert (
        message == "The default of node 4 (RunflowInputInt) cannot be used: takes an integer, but got the text 'many'."
    )
    (message,) = problems({"4": node("RunflowInputFile", input_id="f", file_name="../../etc/passwd")})
    assert '".."' in message


@pytest.mark.parametrize(("widget", "required"), [(True, True), (False, False), ("false", False), (None, True)])
def test_required(widget: object, required: bool) -> None:
    (spec,) = read_interface({"1": node("RunflowInputInt", input_id="x", required=widget)}).inputs
    assert spec.is_required is required


@pytest.mark.parametrize(
    ("class_type", "widgets", "required"),
    [
        ("RunflowInputFile", {"file_name": "mesh.glb"}, False),
        ("RunflowInputFile", {"file_name": "mesh.glb", "required": True}, True),
        ("RunflowInputFile", {"file_name": ""}, True),
        ("RunflowInputFile", {"file_name": ["9", 0]}, True),
        ("RunflowInputString", {"file_name": "mesh.glb"}, True),
    ],
)
def test_a_file_without_the_required_widget_is_optional(
    class_type: str, widgets: dict[str, Any], required: bool
) -> None:
    (spec,) = read_interface({"1": node(class_type, input_id="x", **widgets), "9": node("AnyNode")}).inputs
    assert spec.is_required is required


def test_limits_are_read_and_faults_in_them_named() -> None:
    prompt = {
        "1": node("RunflowInputInt", input_id="a", min="1", max=9, step="2", default_value="3"),
        "2": node("RunflowInputFloat", input_id="b", min="", max="0.5"),
        "3": node("RunflowInputChoice", input_id="c", choices=" euler\n\nddim\neuler"),
        "4": node("RunflowInputString", input_id="d", min=5, choices="x"),
    }
    found = [spec.limits.to_attributes() for spec in read_interface(prompt).inputs]
    assert found == [{"min": 1, "max": 9, "step": 2}, {"max": 0.5}, {"choices": ["euler", "ddim"]}, {}]
    assert [spec.variable_type_code for spec in read_interface(prompt).inputs][2] is InputType.STRING
    assert problems(
        {
            "1": node("RunflowInputInt", input_id="a", min="low", step="0"),
            "2": node("RunflowInputInt", input_id="b", min=5, max=3),
            "3": node("RunflowInputInt", input_id="c", max=3, default_value="4"),
            "4": node("RunflowInputChoice", input_id="d", choices=" "),
            "5": node("RunflowInputChoice", input_id="e", choices="cat\ndog", default_value="dgo"),
            "6": node("RunflowInputChoice", input_id="f", choices="cat"),
            "7": node("RunflowInputString", input_id="f"),
        }
    ) == [
        "\"min\" of node 1 (RunflowInputInt) cannot be used: it takes an integer, but got the text 'low'.",
        '"step" of node 1 (RunflowInputInt) cannot be used: it takes a number above 0, but got 0.',
        "node 2 (RunflowInputInt) has a smallest of 5, which is above its largest of 3. No value would be taken.",
        "The default of node 3 (RunflowInputInt) cannot be used: the input takes at most 3, but got 4.",
        "node 4 (RunflowInputChoice) lists no choices, so callers could send nothing.",
        "The default of node 5 (RunflowInputChoice) cannot be used: the input takes one of 'cat', 'dog', but got the "
        "text 'dgo'. Did you mean 'dog'?",
        'The input_id "f" is used with two classes: string by node 6 (RunflowInputChoice) and string by node 7 '
        "(RunflowInputString).",
    ]


def test_widgets_that_are_linked_or_no_text_are_refused() -> None:
    found = problems(
        {
            "1": node("RunflowInputInt", input_id=["3", 0]),
            "2": node("RunflowInputInt", input_id="a", required=["3", 0], display_name=5),
            "3": node("AnyNode"),
        }
    )
    assert found == [
        '"input_id" of node 1 (RunflowInputInt) is linked to another node; the API needs a fixed text there.',
        '"display_name" of node 2 (RunflowInputInt) is not a text; the API needs a fixed text there.',
        '"required" of node 2 (RunflowInputInt) is neither on nor off.',
    ]


def test_one_id_on_several_nodes_of_one_class_is_one_input() -> None:
    prompt = {
        "8": node("RunflowInputString", input_id="prompt", display_name="Second"),
        "3": node("RunflowInputString", input_id="prompt", display_name="First"),
        "9": node("RunflowInputString", input_id="after"),
    }
    first, after = read_interface(prompt).inputs
    assert (first.comfyui_node_id, first.display_name, first.sort_order, after.sort_order) == ("3", "First", 0, 1)


def test_one_id_with_two_types_is_refused_with_both_nodes() -> None:
    (message,) = problems({"3": node("RunflowInputString", input_id="x"), "5": node("RunflowInputInt", input_id="x")})
    assert message == (
        'The input_id "x" is used with two types: string by node 3 (RunflowInputString) and int by '
        "node 5 (RunflowInputInt)."
    )


def test_several_outputs_may_share_an_id() -> None:
    prompt = {node_id: node("RunflowOutputImage", output_id="image") for node_id in ("9", "10")}
    assert [(spec.name, spec.comfyui_node_id) for spec in read_interface(prompt).outputs] == [
        ("image", "9"),
        ("image", "10"),
    ]


def test_a_malformed_prompt_is_refused_before_reading() -> None:
    with pytest.raises(PromptError):
        read_interface({"nodes": [], "links": []})


@few_examples
@given(prompts())
def test_reading_gives_each_id_once_and_survives_json(prompt: dict[str, Any]) -> None:
    interface = read_interface(check_prompt(prompt))
    names = [spec.name for spec in interface.inputs]
    carried = {node["inputs"]["input_id"] for node in prompt.values() if node["class_type"].startswith("RunflowInput")}
    assert len(names) == len(set(names))
    assert set(names) == carried - {""}
    assert [spec.sort_order for spec in interface.inputs] == list(range(len(names)))
    assert {spec.comfyui_node_id for spec in interface.outputs} == {
        node_id for node_id, node in prompt.items() if node["class_type"].startswith("RunflowOutput")
    }
    ordered = [node_order(spec.comfyui_node_id) for spec in interface.outputs]
    assert ordered == sorted(ordered)
    assert Interface.from_dict(json.loads(json.dumps(interface.to_dict()))) == interface
    check_targets(prompt, interface)


@few_examples
@given(prompts(), st.randoms(use_true_random=False))
def test_the_position_of_nodes_in_the_prompt_does_not_matter(prompt: dict[str, Any], random: Any) -> None:
    shuffled = list(prompt.items())
    random.shuffle(shuffled)
    assert read_interface(dict(shuffled)) == read_interface(prompt)
