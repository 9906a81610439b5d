import copy
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import (
    BindError,
    InputSpec,
    InputType,
    Interface,
    bind,
    check_prompt,
    injected_input,
    is_link,
    media_inputs,
    read_interface,
)
from tests.plugin.graph.prompt_strategies import VALUES, few_examples, prompts

ASSET = "runflow://assets/018f3c1e-7b1a-7c3e-9a55-2f6d1c0b4e77"


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def manual(
    name: str, kind: InputType, node_id: str, field: str, *, default: Any = None, required: bool = False
) -> InputSpec:
    return InputSpec(name, kind, name, "", required, default, 0, node_id, field, "manual")


def refusals(prompt: Any, interface: Interface, values: Any, **arguments: Any) -> list[str]:
    with pytest.raises(BindError) as raised:
        bind(prompt, interface, values, **{"files": {}, **arguments})
    return [problem.message for problem in raised.value.problems]


SEEDS: dict[str, Any] = {
    "1": node("RunflowInputInt", input_id="seed", required=False, value=["4", 0]),
    "2": node("RunflowInputInt", input_id="seed"),
    "3": node("RunflowInputString", input_id="seed but text"),
    "4": node("PrimitiveInt", value=3),
    "5": node("KSampler", seed=["1", 0], steps=20),
}


class TestScalars:
    def test_a_value_reaches_every_node_with_the_id_and_replaces_test_wiring(self) -> None:
        interface = read_interface(SEEDS)
        bound = bind(SEEDS, interface, {"seed": 9, "seed but text": "x"}, files={})
        assert bound["1"]["inputs"] == {"input_id": "seed", "required": False, "value": 9}
        assert bound["2"]["inputs"]["value"] == 9
        assert bound["3"]["inputs"]["value"] == "x"
        assert bound["5"]["inputs"] == {"seed": ["1", 0], "steps": 20}

    def test_false_zero_and_empty_are_values(self) -> None:
        prompt = {
            "1": node("RunflowInputInt", input_id="a"),
            "2": node("RunflowInputBoolean", input_id="b"),
            "3": node("RunflowInputString", input_id="c"),
        }
        bound = bind(prompt, read_interface(prompt), {"a": 0, "b": False, "c": ""}, files={})
        assert [bound[node_id]["inputs"]["value"] for node_id in "123"] == [0, False, ""]

    def test_a_manual_target_is_replaced_even_if_it_holds_a_link(self) -> None:
        interface = Interface(
            (manual("steps", InputType.INT, "5", "steps"), manual("the seed", InputType.INT, "5", "seed"))
        )
        bound = bind(SEEDS, interface, {"steps": 4, "the seed": 1}, files={})
        assert bound["5"]["inputs"] == {"seed": 1, "steps": 4}


class TestOmission:
    def prompt(self, **value: Any) -> dict[str, Any]:
        return {
            "1": node("RunflowInputFloat", input_id="cfg", required=False, **value),
            "2": node("KSampler", cfg=["1", 0], seed=1),
            "3": node("RunflowInputFloat", input_id="other", value=["1", 0]),
        }

    def test_the_default_comes_first(self) -> None:
        prompt = self.prompt(value=7.5)
        bound = bind(prompt, read_interface(prompt), {"other": 1.0}, files={})
        assert bound["1"]["inputs"]["value"] == 7.5
        assert bound["2"]["inputs"]["cfg"] == ["1", 0]

    @pytest.mark.parametrize("values", [{"other": 1.0}, {"other": 1.0, "cfg": None}])
    def test_without_default_every_link_that_leaves_the_node_is_removed(self, values: dict[str, Any]) -> None:
        prompt = self.prompt()
        bound = bind(prompt, read_interface(prompt), values, files={})
        assert bound["2"]["inputs"] == {"seed": 1}
        assert bound["3"]["inputs"]["value"] == 1.0  # a bound value, not the link that was there

    def test_a_file_node_falls_back_to_its_file_name(self) -> None:
        prompt = {
            "1": node("RunflowInputFile", input_id="mesh", required=False, file_name="a.glb", value=["3", 0]),
            "2": node("Load3D", model=["1", 0]),
            "3": node("PrimitiveString", value="test.glb"),
            "4": node("RunflowInputFile", input_id="mesh", required=False),
            "5": node("Load3D", model=["4", 0]),
        }
        interface = read_interface(prompt)
        assert interface.inputs[0].default_value == "a.glb"
        bound = bind(prompt, interface, {}, files={})
        assert [bound["1"]["inputs"]["value"], bound["4"]["inputs"]["value"]] == ["a.glb", "a.glb"]
        no_default = Interface((InputSpec("mesh", InputType.FILE, "", "", False, None, 0, "1", "value", "node"),))
        bound = bind(prompt, no_default, {}, files={})
        assert "value" not in bound["1"]["inputs"]
        assert bound["2"]["inputs"] == {"model": ["1", 0]}
        assert bound["5"]["inputs"] == {}

    def test_a_consumer_whose_widget_is_known_gets_what_that_holds(self) -> None:
        own: dict[str, Any] = {"seed": 7, "cfg": [1], "name": None}
        prompt = {
            "1": node("RunflowInputInt", input_id="seed", required=False),
            "2": {**node("KSampler", seed=["1", 0], cfg=["1", 0]), "_meta": {"title": "S", "runflow_widgets": own}},
            "3": {**node("KSampler", seed=["1", 0]), "_meta": {"runflow_widgets": "odd"}},
        }
        interface = read_interface(prompt)
        bound = bind(prompt, interface, {}, files={})
        assert [bound[number]["inputs"] for number in "23"] == [{"seed": 7}, {}]
        bound = bind(prompt, interface, {"seed": 5}, files={})
        assert bound["1"]["inputs"]["value"] == 5
        assert bound["2"]["inputs"]["seed"] == ["1", 0]

    def test_a_manual_target_keeps_what_it_holds(self) -> None:
        prompt = self.prompt()
        interface = Interface(
            (manual("cfg of sampler", InputType.FLOAT, "2", "cfg"), manual("s", InputType.INT, "2", "seed"))
        )
        bound = bind(prompt, interface, {}, files={})
        assert bound["2"]["inputs"]["seed"] == 1

    def test_an_input_node_that_no_row_exposes_counts_as_omitted_unless_it_holds_a_value(self) -> None:
        prompt = {
            "1": node("RunflowInputImage", input_id="photo"),
            "2": node("Stitch", image=["1", 0]),
            "3": node("RunflowInputInt", input_id="", value=["5", 0]),
            "4": node("KSampler", seed=["3", 0]),
            "5": node("PrimitiveInt", value=1),
            "6": node("RunflowInputInt", input_id="steps", default_value="8"),
            "7": node("RunflowInputBoolean", input_id="flag", default_value="none"),
            "8": node("Sampler", steps=["6", 0], flag=["7", 0]),
        }
        bound = bind(prompt, Interface(), {}, files={})
        assert bound["2"]["inputs"] == {}
        assert bound["4"]["inputs"] == {"seed": ["3", 0]}
        assert bound["8"]["inputs"] == {"steps": ["6", 0]}

    def test_a_required_input_without_value_is_refused(self) -> None:
        prompt = {"1": node("RunflowInputInt", input_id="seed", value=5)}
        assert refusals(prompt, read_interface(prompt), {}) == ['Input "seed" is required but has no value.']


class TestFiles:
    def test_a_picture_arrives_through_one_loader_for_all_nodes_with_the_id(self) -> None:
        prompt = {
            "7": node("RunflowInputImage", input_id="photo", value=["9", 0]),
            "8": node("RunflowInputImage", input_id="photo"),
            "9": node("LoadImage", image="test.png"),
            "runflow_image_7": node("AnyNode"),
        }
        bound = bind(prompt, read_interface(prompt), {"photo": ASSET}, files={"photo": "runs/a/p.png"})
        loader = bound["7"]["inputs"]["value"][0]
        assert bound["7"]["inputs"]["value"] == bound["8"]["inputs"]["value"] == ["runflow_image_7_2", 0]
        assert bound[loader]["class_type"] == "LoadImage"
        assert bound[loader]["inputs"] == {"image": "runs/a/p.png", "upload": "image"}
        assert injected_input(bound, loader) == "photo"
        assert [injected_input(bound, node_id) for node_id in ("7", "9", "nowhere")] == [None, None, None]
        assert bound["runflow_image_7"] == node("AnyNode")

    def test_a_file_input_gets_the_name(self) -> None:
        prompt = {"1": node("RunflowInputFile", input_id="f", file_name="old.bin")}
        bound = bind(prompt, read_interface(prompt), {"f": ASSET}, files={"f": "runs/a/new.bin"})
        assert bound["1"]["inputs"]["value"] == "runs/a/new.bin"
        assert set(bound) == {"1"}

    def test_a_picture_for_a_text_field_is_its_file_name_and_for_a_socket_a_loader(self) -> None:
        prompt = {
            "1": node("LoadImage", image="old.png"),
            "2": node("ImageScale", image=["1", 0]),
            "3": node("RunflowInputImage", input_id="x", value="hand-written.png"),
        }
        interface = Interface(
            (
                manual("a", InputType.IMAGE, "1", "image"),
                manual("b", InputType.IMAGE, "2", "image"),
                manual("c", InputType.FILE, "3", "value"),
            )
        )
        files = {"a": "r/a.png", "b": "r/b.png", "c": "r/c.png"}
        bound = bind(prompt, interface, {"a": ASSET, "b": ASSET, "c": ASSET}, files=files)
        assert bound["1"]["inputs"]["image"] == "r/a.png"
        for node_id, field, name in (("2", "image", "r/b.png"), ("3", "value", "r/c.png")):
            assert bound[bound[node_id]["inputs"][field][0]]["inputs"]["image"] == name

    def test_a_default_that_names_a_resource_is_used_and_one_that_is_a_reference_is_fetched(self) -> None:
        prompt = {"1": node("RunflowInputImage", input_id="logo", required=False, value="brand/logo.png")}
        interface = read_interface(prompt)
        bound = bind(prompt, interface, {}, files={})
        assert bound["runflow_image_1"]["inputs"]["image"] == "brand/logo.png"
        remote = Interface((manual("logo", InputType.IMAGE, "1", "value", default="https://example.com/l.png"),))
        assert refusals(prompt, remote, {}) == ['Input "logo" has a value, but its file was not fetched.']
        bound = bind(prompt, remote, {}, files={"logo": "runs/a/l.png"})
        assert bound["runflow_image_1"]["inputs"]["image"] == "runs/a/l.png"

    @pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "a/../../x", "", "x.png [output]", "C:\\x.png"])
    def test_a_path_that_leaves_the_input_folder_is_refused(self, path: str) -> None:
        prompt = {"1": node("RunflowInputImage", input_id="p")}
        (message,) = refusals(prompt, read_interface(prompt), {"p": ASSET}, files={"p": path})
        assert message.startswith(f'The file "{path}" of input "p" cannot be used')

    def test_a_value_whose_file_was_not_fetched_is_refused(self) -> None:
        prompt = {"1": node("RunflowInputFile", input_id="f", file_name="old.bin")}
        assert refusals(prompt, read_interface(prompt), {"f": ASSET}) == [
            'Input "f" has a value, but its file was not fetched.'
        ]


class TestRunFolder:
    @pytest.mark.parametrize(
        ("prefix", "expected"),
        [
            ("ComfyUI", "runs/a/ComfyUI"),
            ("video/ComfyUI", "runs/a/video/ComfyUI"),
            ("/abs/x", "runs/a/abs/x"),
            ("./x", "runs/a/x"),
            ("sub/", "runs/a/sub"),
            ("", "runs/a/output"),
            ("%date:yyyy-MM-dd%/x", "runs/a/%date:yyyy-MM-dd%/x"),
            ("a..b", "runs/a/a..b"),
        ],
    )
    def test_prefixes_go_below_the_folder(self, prefix: str, expected: str) -> None:
        bound = bind(
            {"1": node("SaveImage", filename_prefix=prefix)}, Interface(), {}, files={}, output_folder="runs/a/"
        )
        assert bound["1"]["inputs"]["filename_prefix"] == expected

    def test_image_outputs_get_the_folder_and_without_one_nothing_changes(self) -> None:
        prompt = {"1": node("RunflowOutputImage", output_id="x"), "2": node("SaveImage", filename_prefix="p")}
        bound = bind(prompt, Interface(), {}, files={}, output_folder="runs/a")
        assert bound["1"]["inputs"]["output_subfolder"] == "runs/a"
        assert bind(prompt, Interface(), {}, files={}) == prompt

    def test_a_prefix_from_a_caller_stays_in_the_folder(self) -> None:
        prompt = {
            "1": node("RunflowInputString", input_id="name", required=False),
            "2": node("SaveImage", filename_prefix=["1", 0]),
            "3": node("AnyNode", text=["1", 0]),
        }
        interface = read_interface(prompt)
        bound = bind(prompt, interface, {"name": "cat"}, files={}, output_folder="runs/a")
        assert bound["2"]["inputs"]["filename_prefix"] == "runs/a/cat"
        assert bound["3"]["inputs"]["text"] == ["1", 0]
        assert bound["1"]["inputs"]["value"] == "cat"
        for name in ("../../other/x", "a\\..\\..\\b"):
            (message,) = refusals(prompt, interface, {"name": name}, output_folder="runs/a")
            assert message == 'The filename_prefix of node 2 (SaveImage) leaves the folder of the run with "..".'
        assert bind(prompt, interface, {}, files={}, output_folder="runs/a")["2"]["inputs"] == {}

    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            (node("RunflowInputChoice", input_id="", choices="a\nb", default_value="b"), "runs/a/b"),
            (node("RunflowInputString", input_id="", default_value="c/d"), "runs/a/c/d"),
        ],
    )
    def test_a_prefix_from_a_default_stays_in_the_folder(self, source: dict[str, Any], expected: str) -> None:
        prompt = {"1": source, "2": node("SaveImage", filename_prefix=["1", 0])}
        bound = bind(prompt, Interface(), {}, files={}, output_folder="runs/a")
        assert bound["2"]["inputs"]["filename_prefix"] == expected

    def test_a_linked_prefix_of_another_node_is_left_alone(self) -> None:
        prompt = {"1": node("Concatenate", a="x"), "2": node("SaveImage", filename_prefix=["1", 0])}
        bound = bind(prompt, Interface(), {}, files={}, output_folder="runs/a")
        assert bound["2"]["inputs"]["filename_prefix"] == ["1", 0]

    @pytest.mark.parametrize("folder", ["", "/abs", "..", "a/../b"])
    def test_a_folder_that_leaves_is_refused(self, folder: str) -> None:
        assert refusals({"1": node("A")}, Interface(), {}, output_folder=folder)[0].startswith("The output folder")


def test_missing_targets_and_unknown_inputs_are_named_all_at_once() -> None:
    prompt = {"1": node("KSampler", seed=1)}
    interface = Interface((manual("a", InputType.INT, "7", "seed"), manual("b", InputType.INT, "1", "sead")))
    assert refusals(prompt, interface, {"a": 1, "c": 2}) == [
        'There is no input "c".',
        'Input "a" targets node 7, which is not in the workflow.',
        'Input "b" targets field "sead" of node 1 (KSampler), which has no such field.',
    ]


@st.composite
def bindings(draw: st.DrawFn) -> tuple[dict[str, Any], Interface, dict[str, Any], dict[str, str], str | None]:
    """A prompt with its interface, values for its required and some of its optional inputs, and the fetched files."""
    prompt = draw(prompts())
    interface = read_interface(prompt)
    values = {
        spec.name: draw(VALUES[spec.variable_type_code])
        for spec in interface.inputs
        if spec.is_required or draw(st.booleans())
    }
    files = {name: f"runs/a/{number}.bin" for number, name in enumerate(media_inputs(interface, values))}
    return prompt, interface, values, files, draw(st.sampled_from([None, "runs/a"]))


@few_examples
@given(bindings())
def test_binding_never_changes_its_arguments_and_shares_nothing(case: Any) -> None:
    prompt, interface, values, files, folder = case
    before = copy.deepcopy((prompt, values, files))
    bound = bind(prompt, interface, values, files=files, output_folder=folder)
    for bound_node in bound.values():
        for value in bound_node["inputs"].values():
            if isinstance(value, (list, dict)):
                value.clear()
        bound_node["inputs"].clear()
    assert (prompt, values, files) == before


@few_examples
@given(bindings())
def test_a_bound_prompt_is_well_formed_and_binding_is_deterministic(case: Any) -> None:
    prompt, interface, values, files, folder = case
    bound = bind(prompt, interface, values, files=files, output_folder=folder)
    assert check_prompt(bound) is bound
    assert bind(prompt, interface, values, files=files, output_folder=folder) == bound


@few_examples
@given(bindings())
def test_every_value_lands_at_every_node_with_its_id(case: Any) -> None:
    prompt, interface, values, files, folder = case
    bound = bind(prompt, interface, values, files=files, output_folder=folder)
    by_name = {spec.name: spec for spec in interface.inputs}
    for node_id, original in prompt.items():
        spec = by_name.get(original["inputs"].get("input_id", ""))
        if not original["class_type"].startswith("RunflowInput") or spec is None:
            continue
        landed = bound[node_id]["inputs"].get("value")
        if spec.name not in values:
            assert landed == spec.default_value
        elif spec.variable_type_code is InputType.IMAGE:
            assert bound[landed[0]]["inputs"]["image"] == files[spec.name]
        elif spec.variable_type_code is InputType.FILE:
            assert landed == files[spec.name]
        else:
            assert landed == values[spec.name]


@few_examples
@given(bindings())
def test_injected_nodes_are_new_and_nothing_else_is_added_or_lost(case: Any) -> None:
    prompt, interface, values, files, folder = case
    bound = bind(prompt, interface, values, files=files, output_folder=folder)
    added = set(bound) - set(prompt)
    assert set(prompt) <= set(bound)
    assert len(added) == sum(
        spec.variable_type_code is InputType.IMAGE and spec.name in files for spec in interface.inputs
    )
    assert all(injected_input(bound, node_id) for node_id in added)
    for node_id, original in prompt.items():
        assert bound[node_id]["class_type"] == original["class_type"]
        if not original["class_type"].startswith("Runflow"):
            changed = {
                field
                for field, value in original["inputs"].items()
                if bound[node_id]["inputs"].get(field, "gone") != value
            }
            cut = {field for field in changed if is_link(original["inputs"][field])}
            assert changed - cut <= {"filename_prefix"}


@few_examples
@given(bindings())
def test_after_an_omission_no_link_leaves_the_node_and_no_other_link_is_lost(case: Any) -> None:
    prompt, interface, values, files, folder = case
    bound = bind(prompt, interface, values, files=files, output_folder=folder)
    silent = {
        node_id
        for node_id, bound_node in bound.items()
        if bound_node["class_type"].startswith("RunflowInput")
        and "value" not in bound_node["inputs"]
        and not bound_node["inputs"].get("file_name")
    }
    for node_id, original in prompt.items():
        for field, value in original["inputs"].items():
            is_test_wiring = original["class_type"].startswith("RunflowInput") and original["inputs"]["input_id"]
            if not is_link(value) or is_test_wiring or field == "filename_prefix":
                continue
            assert bound[node_id]["inputs"].get(field) == (None if value[0] in silent else value)
    assert not any(is_link(v) and v[0] in silent for n in bound.values() for v in n["inputs"].values())


@few_examples
@given(bindings())
def test_with_a_folder_every_saving_node_writes_below_it(case: Any) -> None:
    prompt, interface, values, files, _ = case
    bound = bind(prompt, interface, values, files=files, output_folder="runs/a")
    for bound_node in bound.values():
        prefix = bound_node["inputs"].get("filename_prefix")
        assert not isinstance(prefix, str) or prefix.startswith("runs/a/")
        if bound_node["class_type"] == "RunflowOutputImage":
            assert bound_node["inputs"]["output_subfolder"] == "runs/a"


def test_thousands_of_inputs_are_bound_in_no_time() -> None:
    inputs = {str(at): node("RunflowInputInt", input_id=f"i{at}", required=False, value=at) for at in range(9_000)}
    interface, started = read_interface(inputs), time.process_time()
    bound = bind(inputs, interface, {"i5": 7}, files={})
    assert bound["5"]["inputs"]["value"] == 7 and time.process_time() - started < 5
