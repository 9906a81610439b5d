"""Random prompts that hold Runflow nodes, for the property-based tests of the graph package."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from runflow.graph import InputType

SCALARS = ("RunflowInputString", "RunflowInputInt", "RunflowInputFloat", "RunflowInputBoolean")
MEDIA = ("RunflowInputImage", "RunflowInputFile")

few_examples = settings(max_examples=40)
"""A whole prompt costs milliseconds to draw; with fewer of them the suite stays quick."""

node_ids = st.one_of(
    st.integers(0, 400).map(str),
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    st.sampled_from(["runflow_image_1", "runflow_image_2", "loader", "ein Knoten", "01"]),
)

input_names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(
    lambda name: name == name.strip()
)

literals = st.one_of(st.text(max_size=8), st.integers(-9, 9), st.booleans(), st.just({"__value__": [1, 2]}))


@st.composite
def prompts(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """A well-formed prompt: links only lead to nodes drawn before, so it has no circles."""
    ids = draw(st.lists(node_ids, min_size=1, max_size=14, unique=True))
    names = draw(st.lists(input_names, min_size=1, max_size=5, unique=True))
    class_of = {name: draw(st.sampled_from(SCALARS + MEDIA)) for name in names}
    prompt: dict[str, dict[str, Any]] = {}
    for node_id in ids:
        earlier = list(prompt)
        kind = draw(st.sampled_from(["input", "input", "output", "other", "other"]))
        if kind == "input":
            prompt[node_id] = draw(_input_node(class_of, earlier))
        elif kind == "output":
            class_type = draw(st.sampled_from(["RunflowOutputImage", "RunflowOutputFile"]))
            inputs: dict[str, Any] = {"output_id": draw(st.sampled_from(["image", "file", "mesh"]))}
            if earlier:
                inputs["value"] = [draw(st.sampled_from(earlier)), 0]
            prompt[node_id] = {"class_type": class_type, "inputs": inputs}
        else:
            prompt[node_id] = {"class_type": "AnyNode", "inputs": draw(_fields(earlier))}
    return prompt


@st.composite
def _input_node(draw: st.DrawFn, class_of: dict[str, str], earlier: list[str]) -> dict[str, Any]:
    name = draw(st.sampled_from([*class_of, ""]))
    class_type = class_of.get(name, "RunflowInputString")
    inputs: dict[str, Any] = {"input_id": name}
    if draw(st.booleans()):
        inputs["required"] = draw(st.booleans())
    if class_type == "RunflowInputFile" and draw(st.booleans()):
        inputs["file_name"] = "chosen.bin"
    if earlier and draw(st.integers(0, 3)) == 0:
        inputs["value"] = [draw(st.sampled_from(earlier)), 0]
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": f"Input {name}"}}


@st.composite
def _fields(draw: st.DrawFn, earlier: list[str]) -> dict[str, Any]:
    value = literals if not earlier else st.one_of(literals, st.sampled_from(earlier).map(lambda source: [source, 0]))
    fields = draw(st.dictionaries(st.sampled_from(["a", "b", "c", "filename_prefix"]), value, max_size=4))
    prefix = fields.get("filename_prefix")
    if isinstance(prefix, str) and ".." in prefix:
        fields["filename_prefix"] = "ComfyUI"
    return fields


VALUES: dict[InputType, st.SearchStrategy[Any]] = {
    InputType.STRING: st.text(st.characters(codec="utf-8", exclude_characters="\x00./\\"), max_size=20),
    InputType.INT: st.integers(-(2**63), 2**64 - 1),
    InputType.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    InputType.BOOLEAN: st.booleans(),
    InputType.IMAGE: st.uuids().map(lambda asset: f"runflow://assets/{asset}"),
    InputType.FILE: st.uuids().map(lambda asset: f"https://example.com/{asset}"),
}
"""Acceptable values by type. Texts hold no path, because a random prompt may use one as its filename_prefix."""
