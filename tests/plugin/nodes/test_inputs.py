import operator
from typing import Any

import numpy as np
import pytest

from plugin.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from plugin.nodes.inputs import RunflowInputFile, RunflowInputImage
from runflow.graph.runflow_nodes import INPUT_CLASSES, OUTPUT_CLASSES, default_id

UNWIRED = {"String": "", "Int": 0, "Float": 0.0, "Boolean": False}
MORE: dict[str, list[str]] = {
    "String": ["default_value"],
    "Int": ["default_value", "min", "max", "step"],
    "Float": ["default_value", "min", "max", "step"],
    "Boolean": ["default_value"],
    "Choice": ["choices", "default_value"],
    "Image": [],
    "File": [],
}


def test_the_graph_package_and_the_nodes_know_the_same_classes() -> None:
    assert set(NODE_CLASS_MAPPINGS) >= set(INPUT_CLASSES) | set(OUTPUT_CLASSES)


@pytest.mark.parametrize("name", INPUT_CLASSES)
def test_widgets_and_sockets(name: str) -> None:
    node_class: Any = NODE_CLASS_MAPPINGS[name]
    kind = name.removeprefix("RunflowInput")
    types = node_class.INPUT_TYPES()
    socket = "STRING" if kind in ("File", "Choice") else kind.upper()
    assert types["required"]["input_id"][1]["default"] == default_id(name) == f"{kind.lower()}_input"
    # The order in which saved workflows list them: what is new comes last.
    widgets = ["display_name", "description", "required", *(["file_name"] if kind == "File" else []), "value"]
    assert list(types["optional"]) == [*widgets, *MORE[kind]]
    assert {types["optional"][name][1]["default"] for name in MORE[kind]} <= {"", "none"}
    assert types["optional"]["required"][1]["default"] is True
    assert types["optional"]["value"][0] == socket
    assert types["optional"]["value"][1]["forceInput"] is True
    returned = node_class.RETURN_TYPES
    assert returned == ("*" if kind == "Choice" else socket,)
    assert node_class.CATEGORY == "Runflow/Input"
    assert NODE_DISPLAY_NAME_MAPPINGS[name] == f"Runflow Input ({kind})"


@pytest.mark.parametrize(("kind", "empty"), UNWIRED.items())
def test_an_unwired_scalar_is_its_empty_value(kind: str, empty: object) -> None:
    node: Any = NODE_CLASS_MAPPINGS[f"RunflowInput{kind}"]()
    (value,) = node.run(input_id="x", display_name="", description="", required=True)
    assert (value, type(value)) == (empty, type(empty))


@pytest.mark.parametrize(("kind", "value"), [("String", "a"), ("Int", 0), ("Float", 2.5), ("Boolean", True)])
def test_a_wired_scalar_passes_unchanged(kind: str, value: object) -> None:
    node: Any = NODE_CLASS_MAPPINGS[f"RunflowInput{kind}"]()
    assert node.run(input_id="x", value=value) == (value,)


@pytest.mark.parametrize(
    ("kind", "held", "value"),
    [
        ("String", "a cat", "a cat"),
        ("Int", "18446744073709551615", 2**64 - 1),
        ("Int", 7, 7),
        ("Float", "0.5", 0.5),
        ("Boolean", "true", True),
        ("Boolean", False, False),
        ("Boolean", "none", False),
    ],
)
def test_an_unwired_one_passes_its_default_on(kind: str, held: object, value: object) -> None:
    node: Any = NODE_CLASS_MAPPINGS[f"RunflowInput{kind}"]()
    (found,) = node.run(input_id="x", default_value=held)
    assert (found, type(found)) == (value, type(value))


def test_a_default_that_does_not_fit_names_the_node() -> None:
    node: Any = NODE_CLASS_MAPPINGS["RunflowInputInt"]()
    with pytest.raises(ValueError, match=r'default_value of Runflow Input \(Int\) "steps" \(node 7\) takes an integer'):
        node.run(input_id="steps", default_value="many", unique_id="7")


def test_a_choice_fits_every_socket_and_starts_with_its_first_text() -> None:
    node: Any = NODE_CLASS_MAPPINGS["RunflowInputChoice"]
    (kind,) = node.RETURN_TYPES
    assert [operator.ne(kind, other) for other in (["euler", "ddim"], "STRING")] == [False, False]
    assert {kind: 1} == {"*": 1}
    assert node().run(choices=" euler \n\nddim\neuler") == ("euler",)
    assert node().run(choices="euler\nddim", default_value="ddim") == ("ddim",)
    assert node().run(value="wired", choices="euler") == ("wired",)
    assert node().run() == ("",)


def test_a_file_input_prefers_the_wired_name() -> None:
    assert RunflowInputFile().run(value="wired.glb", file_name="chosen.glb") == ("wired.glb",)
    assert RunflowInputFile().run(value="", file_name="chosen.glb") == ("chosen.glb",)
    assert RunflowInputFile().run() == ("",)


def test_an_image_passes_and_its_absence_names_the_node() -> None:
    image = np.zeros((1, 2, 2, 3), dtype=np.float32)
    assert RunflowInputImage().run(image)[0] is image
    with pytest.raises(ValueError, match=r'Runflow Input \(Image\) "photo" \(node 17\) has no picture'):
        RunflowInputImage().run(input_id="photo", unique_id="17")
    with pytest.raises(ValueError, match="got str instead of a picture"):
        RunflowInputImage().run("photo.png", input_id="photo", unique_id="17")
