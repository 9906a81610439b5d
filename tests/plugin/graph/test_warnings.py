from typing import Any

from hypothesis import given

from runflow.graph import Interface, find_warnings, read_interface
from tests.plugin.graph.prompt_strategies import few_examples, prompts


def node(class_type: str, /, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def warnings(prompt: dict[str, Any]) -> dict[str | None, str]:
    return {warning.node_id: warning.message for warning in find_warnings(prompt, read_interface(prompt))}


SOUND = {
    "1": node("RunflowInputString", input_id="prompt"),
    "2": node("Painter", text=["1", 0]),
    "3": node("RunflowOutputImage", output_id="image", value=["2", 0]),
}


def test_a_sound_workflow_has_none() -> None:
    assert warnings(SOUND) == {}


def test_no_output() -> None:
    prompt = {key: value for key, value in SOUND.items() if key != "3"}
    assert "declares no output" in warnings(prompt)[None]


def test_an_optional_input_that_would_leave_a_socket_open() -> None:
    prompt = {**SOUND, "1": node("RunflowInputString", input_id="prompt", required=False)}
    assert warnings(prompt) == {
        "1": 'The optional input "prompt" has no default. When a caller omits it, nothing feeds "text" of node 2 '
        "(Painter); a node that requires that socket then fails the run."
    }
    for filled in (
        node("RunflowInputString", input_id="prompt", required=False, value=""),
        node("RunflowInputFile", input_id="prompt", required=False, file_name="a.txt"),
    ):
        assert warnings({**SOUND, "1": filled}) == {}


def test_an_optional_input_in_the_place_of_a_widget_is_fine() -> None:
    painter = {**SOUND["2"], "_meta": {"runflow_widgets": {"text": "a cat"}}}
    prompt = {**SOUND, "1": node("RunflowInputString", input_id="prompt", required=False), "2": painter}
    assert warnings(prompt) == {}


def test_an_optional_input_that_feeds_only_other_inputs_is_fine() -> None:
    prompt = {**SOUND, "1": node("RunflowInputString", input_id="prompt", value=["4", 0])}
    prompt["4"] = node("RunflowInputString", input_id="style", required=False)
    assert warnings(prompt) == {}


def test_limits_that_refuse_what_the_workflow_uses_by_itself() -> None:
    painter = node("Painter", text=["1", 0], steps=["4", 0]) | {"_meta": {"runflow_widgets": {"steps": 80}}}
    prompt = {**SOUND, "2": painter, "4": node("RunflowInputInt", input_id="steps", max="50", required=False)}
    assert warnings(prompt) == {
        "4": 'What the workflow uses when a caller omits "steps" is refused when a caller sends it: the input takes at '
        "most 50, but got 80."
    }
    prompt["4"]["inputs"]["max"] = 80
    assert warnings(prompt) == {}


def test_a_twin_with_other_limits() -> None:
    first, second = (node("RunflowInputInt", input_id="size", max=most) for most in (64, 99))
    prompt = {**SOUND, "4": first, "5": second, "2": node("Painter", text=["1", 0], width=["4", 0], height=["5", 0])}
    assert warnings(prompt) == {
        "5": 'node 5 (RunflowInputInt) shares the input_id "size" with node 4, whose max counts for both.'
    }


def test_a_twin_with_another_value() -> None:
    first, second = (node("RunflowInputInt", input_id="size", required=False, value=at) for at in (64, 99))
    prompt = {**SOUND, "4": first, "5": second, "2": node("Painter", text=["1", 0], width=["4", 0], height=["5", 0])}
    assert '"size" with node 4 and holds another value' in warnings(prompt)["5"]
    for same in (64, ["1", 0]):
        second["inputs"]["value"] = same
        assert warnings(prompt) == {}


def test_an_input_node_that_no_row_exposes() -> None:
    nobody = Interface((), read_interface(SOUND).outputs)
    (unfed,) = find_warnings(SOUND, nobody)
    assert unfed.node_id == "1" and 'nothing feeds "text" of node 2 (Painter)' in unfed.message
    assert find_warnings({**SOUND, "1": node("RunflowInputString", input_id="prompt", value="x")}, nobody) == ()


def test_inputs_that_do_nothing() -> None:
    prompt = {**SOUND, "4": node("RunflowInputInt", input_id="seed"), "5": node("RunflowInputInt", input_id="")}
    prompt["2"] = node("Painter", text=["1", 0], seed=["5", 0])
    found = warnings(prompt)
    assert "no effect" in found["4"]
    assert "has no input_id" in found["5"]


def test_outputs_that_cannot_work_or_cannot_be_told_apart() -> None:
    prompt = {
        **SOUND,
        "4": node("RunflowOutputImage", output_id="other"),
        "5": node("RunflowOutputFile", output_id=" ", value=["2", 0]),
        "6": node("RunflowOutputImage", output_id="image", value=["2", 0]),
    }
    found = warnings(prompt)
    assert "every run will fail" in found["4"]
    assert 'its files are called "file_output"' in found["5"]
    assert found["3"] == found["6"] == '2 outputs share the output_id "image"; callers cannot tell their files apart.'


@few_examples
@given(prompts())
def test_warnings_name_existing_nodes_and_a_next_step(prompt: dict[str, Any]) -> None:
    for warning in find_warnings(prompt, read_interface(prompt)):
        assert warning.node_id is None or warning.node_id in prompt
        assert warning.message[-1] == "."
        assert warning.next_step[-1] == "."
        assert set(warning.to_dict()) == {"node_id", "message", "next_step"}
