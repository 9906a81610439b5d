from typing import Any

import numpy as np
import pytest

from plugin.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
from plugin.nodes.inputs import RunflowInputFile, RunflowInputImage
from runflow.graph.runflow_nodes import INPUT_CLASSES, OUTPUT_CLASSES, default_id

UNWIRED = {"String": "", "Int": 0, "Float": 0.0, "Boolean": False}


def test_the_graph_package_and_the_nodes_know_the_same_classes() -> None:
    assert set(NODE_CLASS_MAPPINGS) >= set(INPUT_CLASSES) | set(OUTPUT_CLASSES)


@pytest.mark.parametrize("name", INPUT_CLASSES)
def test_widgets_and_sockets(name: str) -> None:
    node_class: Any = NODE_CLASS_MAPPINGS[name]
    kind = name.removeprefix("RunflowInput")
    types = node_class.INPUT_TYPES()
    socket = "STRING" if kind == "File" else kind.upper()
    assert types["required"]["input_id"][1]["default"] == default_id(name) == f"{kind.lower()}_input"
    widgets = ["display_name", "description", "required", *(["file_name"] if kind == "File" else []), "value"]
    assert list(types["optional"]) == widgets
    assert types["optional"]["required"][1]["default"] is True
    assert types["optional"]["value"][0] == socket
    assert types["optional"]["value"][1]["forceInput"] is True
    returned = node_class.RETURN_TYPES
    assert returned == (socket,)
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
