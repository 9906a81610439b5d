"""ComfyUI's answers and messages, as recorded from 0.3.12 to 0.33.0, read into failure codes and sentences."""

from typing import Any

import pytest

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.failures import read_execution_error, read_rejection, wanted_network

PROMPT: dict[str, dict[str, Any]] = {
    "1": {"class_type": "NoSuchNode", "inputs": {}, "_meta": {"title": "My loader"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
    "3": {"class_type": "LoadImage", "inputs": {"image": "nope.png"}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}},
    "5": {"class_type": "ImageScale", "inputs": {"upscale_method": "nope"}},
    "6": {"inputs": {}},
}


def rejection(node_id: str, kind: str, **error: Any) -> dict[str, Any]:
    class_type = PROMPT[node_id].get("class_type")
    entry = {"errors": [{"type": kind, **error}], "dependent_outputs": ["2"], "class_type": class_type}
    return {"error": {"type": "prompt_outputs_failed_validation", "message": ""}, "node_errors": {node_id: entry}}


def test_a_missing_class_since_0_12() -> None:
    extra = {"class_type": "NoSuchNode", "node_id": "1", "node_title": "NoSuchNode"}
    body = {"error": {"type": "missing_node_type", "details": "Node ID '#1'", "extra_info": extra}, "node_errors": {}}
    error = read_rejection(body, PROMPT)
    assert (error.code, error.node_id, error.node_type) == (FailureCode.NODE_TYPE_MISSING, "1", "NoSuchNode")
    assert error.message == 'The engine does not have the class of node 1 "My loader" (NoSuchNode).'


def test_a_missing_class_before_0_12() -> None:
    message = "Cannot execute because node NoSuchNode does not exist."
    details = {"type": "invalid_prompt", "message": message, "details": "Node ID '#1'", "extra_info": {}}
    error = read_rejection({"error": details, "node_errors": {}}, PROMPT)
    assert (error.code, error.node_id) == (FailureCode.NODE_TYPE_MISSING, "1")


def test_a_node_without_a_class_is_an_invalid_workflow() -> None:
    extra = {"class_type": None, "node_id": "6", "node_title": None}
    error = read_rejection({"error": {"type": "missing_node_type", "extra_info": extra}}, PROMPT)
    assert (error.code, error.node_id) == (FailureCode.WORKFLOW_INVALID, "6")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            rejection(
                "3",
                "custom_validation_failed",
                message="Custom validation failed for node",
                details="image - Invalid image file: nope.png",
                extra_info={"input_name": "image"},
            ),
            FailureCode.INPUT_VALIDATION_FAILED,
            "Invalid image file: nope.png",
        ),
        (
            rejection(
                "4",
                "value_not_in_list",
                message="Value not in list",
                details="ckpt_name: 'sd.safetensors' not in []",
                extra_info={"input_name": "ckpt_name", "received_value": "sd.safetensors", "input_config": [[]]},
            ),
            FailureCode.MODEL_MISSING,
            'needs the model file "sd.safetensors" (ckpt_name)',
        ),
        (
            rejection(
                "5",
                "value_not_in_list",
                message="Value not in list",
                details="upscale_method: 'nope' not in ['area']",
                extra_info={"input_name": "upscale_method", "received_value": "nope"},
            ),
            FailureCode.WORKFLOW_INVALID,
            'does not accept "nope" for upscale_method',
        ),
        (
            rejection("2", "required_input_missing", message="Required input is missing", details="images"),
            FailureCode.WORKFLOW_INVALID,
            "node 2 (SaveImage): Required input is missing: images.",
        ),
        (
            {"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs"}, "node_errors": {}},
            FailureCode.WORKFLOW_INVALID,
            "no output node",
        ),
        (
            {"error": {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID"}},
            FailureCode.INTERNAL,
            "prompt_id must be a valid UUID",
        ),
        ({"error": "something else"}, FailureCode.WORKFLOW_INVALID, "something else"),
        ({}, FailureCode.WORKFLOW_INVALID, "no reason given"),
    ],
)
def test_other_rejections(body: dict[str, Any], code: FailureCode, words: str) -> None:
    error = read_rejection(body, PROMPT)
    assert error.code is code
    assert words in error.message
    assert error.next_step


def test_a_file_that_is_not_there_is_told_to_whoever_deployed_it() -> None:
    details = {"message": "Custom validation failed for node", "details": "image - Invalid image file: nope.png"}
    error = read_rejection(rejection("3", "custom_validation_failed", **details), PROMPT)
    assert error.code is FailureCode.INPUT_VALIDATION_FAILED and "`resources`" in error.next_step


def test_of_several_complaints_the_most_telling_leads_and_all_are_listed() -> None:
    body = rejection("2", "required_input_missing", message="Required input is missing", details="images")
    extra = {"input_name": "ckpt_name", "received_value": "sd.safetensors"}
    body["node_errors"] |= rejection("4", "value_not_in_list", extra_info=extra)["node_errors"]
    error = read_rejection(body, PROMPT)
    assert (error.code, error.node_id) == (FailureCode.MODEL_MISSING, "4")
    assert error.message.endswith("(1 more problem.)")
    assert [detail["node_id"] for detail in error.details] == ["2", "4"]


def test_a_validation_exception_carries_no_traceback() -> None:
    extra = {"exception_type": "KeyError", "traceback": ["File '/srv/comfy/execution.py'"]}
    body = rejection(
        "2", "exception_during_validation", message="Exception when validating node", details="'99'", extra_info=extra
    )
    error = read_rejection(body, PROMPT)
    assert "/srv" not in f"{error}{error.details}"


@pytest.mark.parametrize(
    ("exception", "message", "node", "code"),
    [
        ("builtins.ValueError", "kaput", "2", FailureCode.EXECUTION_FAILED),
        ("torch.OutOfMemoryError", "Allocation on device ", "2", FailureCode.OUT_OF_MEMORY),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB", "2", FailureCode.OUT_OF_MEMORY),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: can't allocate memory", "2", FailureCode.OUT_OF_MEMORY),
        ("RuntimeError", "MPS backend out of memory", "2", FailureCode.OUT_OF_MEMORY),
        ("MemoryError", "", "2", FailureCode.OUT_OF_MEMORY),
        ("PIL.UnidentifiedImageError", "cannot identify image file 'x'", "3", FailureCode.INPUT_VALIDATION_FAILED),
        ("PIL.UnidentifiedImageError", "cannot identify image file 'x'", "2", FailureCode.EXECUTION_FAILED),
        ("OSError", "image file is truncated (3 bytes not processed)", "3", FailureCode.INPUT_VALIDATION_FAILED),
    ],
)
def test_what_a_node_raises(exception: str, message: str, node: str, code: FailureCode) -> None:
    node_type = PROMPT[node]["class_type"]
    data = {"node_id": node, "node_type": node_type, "exception_type": exception, "exception_message": message}
    error = read_execution_error(data, PROMPT)
    assert error.code is code
    assert (error.node_id, error.node_type) == (node, node_type)
    assert error.exception_type == exception.rpartition(".")[2]
    assert f"node {node}" in error.message


def test_a_traceback_holds_no_folder_of_the_machine() -> None:
    lines = [
        '  File "/srv/comfy/execution.py", line 327, in execute\n    output = await get_output(obj)\n',
        '  File "/srv/comfy/custom_nodes/pack/nodes.py", line 12, in scale\n    raise ValueError(path)\n',
        '  File "/opt/python/lib/torch/nn.py", line 1, in call\n',
    ]
    data = {
        "node_id": "2",
        "node_type": "ImageScale",
        "exception_type": "builtins.ValueError",
        "exception_message": "no such file: /srv/comfy/input/other-run/x.png",
        "traceback": lines,
    }
    told = read_execution_error(data, PROMPT, ("/srv/comfy",)).traceback
    assert told is not None and told.splitlines() == [
        '  File "execution.py", line 327, in execute',
        "    output = await get_output(obj)",
        '  File "custom_nodes/pack/nodes.py", line 12, in scale',
        "    raise ValueError(path)",
        '  File "nn.py", line 1, in call',
        "ValueError: no such file: input/other-run/x.png",
    ]
    assert read_execution_error({**data, "traceback": None}, PROMPT).traceback is None
    long = read_execution_error({**data, "traceback": ["x" * 300 + "\n"] * 500}, PROMPT).traceback
    assert long is not None and len(long) <= 16_000 and long.endswith("x.png")


def test_an_empty_error_is_still_an_answer() -> None:
    assert read_execution_error({}, PROMPT).code is FailureCode.EXECUTION_FAILED


@pytest.mark.parametrize(
    ("kind", "text", "is_network"),
    [
        ("requests.exceptions.ConnectionError", "HTTPSConnectionPool: Max retries exceeded with url", True),
        ("OSError", "[Errno -3] Temporary failure in name resolution", True),
        ("huggingface_hub.errors.LocalEntryNotFoundError", "Cannot find the requested files in the disk cache", True),
        ("ValueError", "bad size", False),
    ],
)
def test_a_node_that_wanted_a_network_is_told_that_there_is_none(kind: str, text: str, is_network: bool) -> None:
    error = read_execution_error({"node_id": "5", "exception_type": kind, "exception_message": text}, PROMPT)
    told = wanted_network(error)
    assert ("no network here" in told.message) is is_network
    assert ("RUNFLOW_ENGINE_NETWORK" in told.next_step) is is_network


def test_a_text_of_any_length_is_read_in_a_moment() -> None:
    long = "x/" * 50_000_000
    data = {"node_id": "5", "exception_type": "ValueError", "exception_message": long, "traceback": [long, long]}
    error = read_execution_error(data, PROMPT)
    assert len(error.message) < 1000
    assert len(error.traceback or "") < 30_000
