from typing import Any

from plugin.playground.failures import failed_node, refused_prompt

PROMPT: dict[str, Any] = {
    "3": {"class_type": "RunflowInputInt", "inputs": {"input_id": "width", "value": 7}},
    "5": {"class_type": "ImageScale", "inputs": {"width": ["3", 0], "height": -1}, "_meta": {"title": "Scale it"}},
    "runflow_image_2": {
        "class_type": "LoadImage",
        "inputs": {"image": "otter.png"},
        "_meta": {"title": "Input photo", "runflow_input": "photo"},
    },
}


def raised(node_id: str, kind: str, message: str) -> dict[str, Any]:
    class_type = PROMPT[node_id]["class_type"]
    data = {"node_id": node_id, "node_type": class_type, "exception_type": kind, "exception_message": message}
    return failed_node({**data, "traceback": ["line 1\n", "line 2\n"]}, PROMPT)


def test_a_node_that_raised_is_named_with_the_inputs_behind_it() -> None:
    error = raised("5", "builtins.ValueError", "width must be\n even")
    assert error["message"] == (
        'The node 5 "Scale it" (ImageScale) raised ValueError: width must be even. '
        'Check the values: its "width" comes from input "width".'
    )
    assert (error["code"], error["node_id"], error["node_type"]) == ("EXECUTION_FAILED", "5", "ImageScale")
    assert error["details"]["title"] == "Scale it"
    assert error["details"]["inputs"] == [{"name": "width", "field": "width"}]
    assert error["details"]["trace"] == "line 1\nline 2\n"


def test_a_picture_that_cannot_be_read_is_the_inputs_fault() -> None:
    error = raised("runflow_image_2", "PIL.UnidentifiedImageError", "cannot identify image file")
    assert error["code"] == "INPUT_VALIDATION_FAILED"
    assert error["message"].startswith('The picture of input "photo" cannot be read: cannot identify image file.')


def test_memory_is_told_apart() -> None:
    assert raised("5", "torch.OutOfMemoryError", "Allocation on device")["code"] == "OUT_OF_MEMORY"


def test_a_refused_field_is_named() -> None:
    problem = {
        "type": "value_smaller_than_min",
        "message": "Value -1 smaller than min of 0",
        "details": "height",
        "extra_info": {"input_name": "height"},
    }
    error = refused_prompt({"node_errors": {"5": {"errors": [problem], "class_type": "ImageScale"}}}, PROMPT, PROMPT)
    assert error["message"] == (
        'ComfyUI does not accept field "height" of node 5 "Scale it" (ImageScale): '
        "Value -1 smaller than min of 0: height. Repair it in the editor and capture the workflow again."
    )
    assert error["details"]["field"] == "height"
    assert error["code"] == "WORKFLOW_INVALID"


def test_an_input_without_a_value_is_named_where_a_node_needs_it() -> None:
    problem = {
        "type": "required_input_missing",
        "message": "Required input is missing",
        "details": "width",
        "extra_info": {"input_name": "width"},
    }
    bound = {"5": {**PROMPT["5"], "inputs": {"height": 64}}}
    error = refused_prompt({"node_errors": {"5": {"errors": [problem], "class_type": "ImageScale"}}}, bound, PROMPT)
    assert error["message"].endswith('Required input is missing: width. Give input "width" a value.')
    assert error["code"] == "INPUT_VALIDATION_FAILED"


def test_a_class_that_is_not_installed_is_named() -> None:
    extra = {"node_id": "5", "class_type": "ImageScale", "node_title": "Scale it"}
    error = refused_prompt(
        {"error": {"type": "missing_node_type", "message": "x", "extra_info": extra}}, PROMPT, PROMPT
    )
    assert error["code"] == "NODE_TYPE_MISSING"
    assert 'node 5 "Scale it" (ImageScale)' in error["message"]


def test_other_refusals_keep_comfyuis_words() -> None:
    assert "no output node" in refused_prompt({"error": {"type": "prompt_no_outputs"}}, PROMPT, PROMPT)["message"]
    assert (
        "because so" in refused_prompt({"error": {"type": "odd", "message": "because so"}}, PROMPT, PROMPT)["message"]
    )
    assert "gave no reason" in refused_prompt({}, PROMPT, PROMPT)["message"]
