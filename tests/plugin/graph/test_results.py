from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import (
    InputType,
    Interface,
    MissingOutputError,
    OutputFile,
    OutputPathError,
    OutputSpec,
    collect_outputs,
    node_order,
    read_interface,
)


def output(name: str, node_id: str, order: int = 0, origin: str = "node") -> OutputSpec:
    return OutputSpec(name, InputType.IMAGE, name, "", order, node_id, "value", origin)


def entry(filename: str, subfolder: str = "", type_: str = "output") -> dict[str, str]:
    return {"filename": filename, "subfolder": subfolder, "type": type_}


PROMPT = {
    "9": {"class_type": "RunflowOutputImage", "inputs": {"output_id": "image"}, "_meta": {"title": "Result"}},
    "10": {"class_type": "RunflowOutputFile", "inputs": {"output_id": "mesh"}},
    "4": {"class_type": "SaveImage", "inputs": {}},
}


def test_only_declared_outputs_are_delivered_in_order() -> None:
    outputs = {
        "4": {"images": [entry("extra.png")]},
        "10": {"files": [entry("m.glb", "meshes")]},
        "9": {"images": [entry("b.png"), entry("a.png")]},
    }
    assert collect_outputs(PROMPT, read_interface(PROMPT), outputs) == (
        OutputFile("image", "9", "b.png", "", "output", 0),
        OutputFile("image", "9", "a.png", "", "output", 1),
        OutputFile("mesh", "10", "m.glb", "meshes", "output", 0),
    )


def test_sort_order_comes_before_the_node_id() -> None:
    interface = Interface(outputs=(output("a", "9", 5), output("b", "10", 1), output("c", "4", 5)))
    history = {node_id: {"images": [entry(f"{node_id}.png")]} for node_id in PROMPT}
    assert [file.output_id for file in collect_outputs(PROMPT, interface, history)] == ["b", "c", "a"]


def test_without_declared_outputs_every_saved_file_is_delivered_under_its_node_id() -> None:
    history = {
        "12": {"images": [entry("p.png", type_="temp")], "text": ["a text"]},
        "9:3": {"gifs": [entry("v.mp4")]},
        "10": {"images": [entry("x.webp")], "animated": [True]},
        "9": {"audio": [entry("s.flac", "audio")]},
        "13": None,
    }
    found = collect_outputs(PROMPT, Interface(), history)
    assert [(file.output_id, file.filename) for file in found] == [
        ("9", "s.flac"),
        ("9:3", "v.mp4"),
        ("10", "x.webp"),
    ]
    assert collect_outputs(PROMPT, Interface(), {}) == collect_outputs(PROMPT, Interface(), None) == ()


@pytest.mark.parametrize(
    "bucket", ["images", "gifs", "audio", "audios", "videos", "model_files", "3d", "files", "latents", "something new"]
)
def test_any_bucket_counts(bucket: str) -> None:
    (file,) = collect_outputs(PROMPT, Interface(outputs=(output("x", "4"),)), {"4": {bucket: [entry("f.bin")]}})
    assert file.filename == "f.bin"


def test_a_file_that_stands_in_two_buckets_is_delivered_once() -> None:
    history = {"4": {"gifs": [entry("v.mp4"), entry("w.mp4")], "images": [entry("v.mp4"), entry("v.mp4", "sub")]}}
    found = collect_outputs(PROMPT, Interface(outputs=(output("x", "4"),)), history)
    assert [(file.filename, file.subfolder, file.batch_index) for file in found] == [
        ("v.mp4", "", 0),
        ("w.mp4", "", 1),
        ("v.mp4", "sub", 2),
    ]


@pytest.mark.parametrize("nothing", [None, {}, {"images": []}, {"images": None}, {"text": ["x"]}, {"images": [{}]}, []])
def test_a_declared_output_without_file_is_named_with_its_node(nothing: Any) -> None:
    with pytest.raises(MissingOutputError) as raised:
        collect_outputs(PROMPT, read_interface(PROMPT), {"9": nothing, "10": {"files": [entry("m.glb")]}})
    (problem,) = raised.value.problems
    assert problem.message == 'Output "image" has no file: node 9 "Result" (RunflowOutputImage) produced none.'
    assert (problem.node_id, problem.class_type) == ("9", "RunflowOutputImage")


def test_every_missing_output_is_named() -> None:
    with pytest.raises(MissingOutputError) as raised:
        collect_outputs(PROMPT, read_interface(PROMPT), {"4": {"images": [entry("a.png")]}})
    assert [problem.node_id for problem in raised.value.problems] == ["9", "10"]


def test_a_preview_counts_only_where_a_person_declared_it() -> None:
    history = {"4": {"images": [entry("p.png", type_="temp")]}}
    (file,) = collect_outputs(PROMPT, Interface(outputs=(output("x", "4", origin="manual"),)), history)
    assert file.type == "temp"
    with pytest.raises(MissingOutputError):
        collect_outputs(PROMPT, Interface(outputs=(output("x", "4"),)), history)


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [("../x.png", ""), ("/etc/passwd", ""), ("x.png", "/data"), ("x.png", "a/../.."), ("", "")],
)
def test_a_path_outside_the_output_folder_is_refused(filename: str, subfolder: str) -> None:
    with pytest.raises(OutputPathError, match=r"Node 4 \(SaveImage\) reported the file"):
        collect_outputs(PROMPT, Interface(), {"4": {"images": [entry(filename, subfolder)]}})


junk = st.recursive(
    st.none() | st.integers() | st.text(max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=4
)
entries = st.builds(
    entry,
    st.text(st.sampled_from("abc."), min_size=1, max_size=3).filter(lambda name: ".." not in name),
    st.sampled_from(["", "s", "s/t"]),
    st.sampled_from(["output", "output", "temp", "input"]),
)
histories = st.dictionaries(
    st.integers(0, 30).map(str) | st.sampled_from(["9:3", "x"]),
    st.none()
    | st.dictionaries(st.sampled_from(["images", "files", "text"]), st.lists(entries | junk, max_size=5) | junk),
    max_size=6,
)


@given(histories)
def test_all_files_of_type_output_come_once_and_in_order(history: dict[str, Any]) -> None:
    found = collect_outputs({}, Interface(), history)
    expected = {
        (node_id, item["subfolder"], item["filename"])
        for node_id, buckets in history.items()
        if isinstance(buckets, dict)
        for bucket in buckets.values()
        if isinstance(bucket, list)
        for item in bucket
        if isinstance(item, dict) and item["type"] == "output"
    }
    assert {(file.node_id, file.subfolder, file.filename) for file in found} == expected
    assert len(found) == len(expected)
    keys = [(node_order(file.node_id), file.batch_index) for file in found]
    assert keys == sorted(keys)


@given(histories, st.permutations(["1", "2", "9:3", "x"]))
def test_declared_outputs_get_exactly_their_own_files(history: dict[str, Any], node_ids: list[str]) -> None:
    everything = collect_outputs({}, Interface(), history)
    having = [node_id for node_id in node_ids if any(file.node_id == node_id for file in everything)]
    interface = Interface(outputs=tuple(output(f"o{node_id}", node_id, order) for order, node_id in enumerate(having)))
    if not having:
        return
    found = collect_outputs({}, interface, history)
    expected = [file for node_id in having for file in everything if file.node_id == node_id]
    assert [(file.output_id, file.filename) for file in found] == [
        (f"o{file.node_id}", file.filename) for file in expected
    ]
