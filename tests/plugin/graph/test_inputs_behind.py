"""Which inputs feed a node: through a Runflow Input node, a loaded picture, or straight into one of its fields."""

from typing import Any

from plugin.graph import FeedingInput, InputSpec, Interface, check_values, inputs_behind
from plugin.graph.runflow_nodes import InputType

PROMPT: dict[str, Any] = {
    "1": {"class_type": "RunflowInputInt", "inputs": {"input_id": " width ", "value": 7}},
    "2": {"class_type": "ImageScale", "inputs": {"width": ["1", 0], "height": 4, "image": ["load", 0], "x": ["9", 0]}},
    "9": {"class_type": "Other", "inputs": {}},
    "load": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"runflow_input": "photo"}},
}
DIRECT = InputSpec(
    name="height",
    variable_type_code=InputType.INT,
    is_required=True,
    default_value=None,
    display_name="",
    description="",
    sort_order=0,
    comfyui_node_id="2",
    comfyui_field_name="height",
    origin="manual",
)


def test_wires_pictures_and_targets_are_found() -> None:
    interface = Interface(inputs=(DIRECT,), outputs=())
    wired = [FeedingInput("width", "width"), FeedingInput("photo", "image")]
    assert inputs_behind(PROMPT, "2") == wired
    assert inputs_behind(PROMPT, "2", None, interface) == [*wired, FeedingInput("height", "height")]
    assert inputs_behind(PROMPT, "2", "height", interface) == [FeedingInput("height", "height")]
    assert inputs_behind(PROMPT, "2", "x", interface) == []
    assert inputs_behind(PROMPT, "1") == [FeedingInput("width", "value")]
    assert inputs_behind(PROMPT, "load") == [FeedingInput("photo", "image")]
    assert inputs_behind(PROMPT, "nowhere") == []


def test_the_sentence_names_each() -> None:
    assert check_values([]) == ""
    told = check_values([FeedingInput("a", "width"), FeedingInput("b", "height")])
    assert told == 'Check the values: its "width" comes from input "a", its "height" comes from input "b".'
