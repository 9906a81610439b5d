"""ComfyUI's error answers and messages, read into failure codes and sentences for people.

Codes: docs/api/runs.md, "Failures". Shapes: recorded from ComfyUI 0.3.12 to 0.33.0.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runflow.protocol.failures import FailureCode
from runflow.worker.engine.execution import NodeError, Prompt, describe_node, node_title
from runflow.worker.engine.folders import clean

_MODEL_FILE = re.compile(r"\.(safetensors|sft|ckpt|pt2?|pth|bin|gguf|onnx|engine|pkl)$", re.IGNORECASE)
_MODEL_FIELD = re.compile(
    r"(ckpt|checkpoint|lora|vae|unet|clip|control_?net|model|embedding|upscaler?)\w*_?name\d*$|^model$"
)
_FILE_LOADER = re.compile(r"^(Load(Image|Audio|Video|Latent)|RunflowInput)", re.IGNORECASE)
_FILE_FIELDS = frozenset({"image", "audio", "video", "file", "file_name", "latent"})
_INVALID_FILE = re.compile(r"Invalid (image|audio|video|latent|mask|file)[^:]*file?:", re.IGNORECASE)
_NODE_ID = re.compile(r"#'?([^'\"]+)'?")
_NOT_A_MEDIA_FILE = re.compile(
    r"cannot identify image file|UnidentifiedImageError|image file is truncated|broken data stream|Truncated File Read"
    r"|InvalidDataError|Invalid data found when processing input|No audio stream found",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|OOM_EXCEPTION|^MemoryError|Allocation on device|not enough memory|can't allocate memory"
    r"|Unable to allocate .* for an array|HIPErrorOutOfMemory|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)

_NEXT_STEPS: dict[FailureCode, str] = {
    FailureCode.NODE_TYPE_MISSING: "Install the custom node that provides it on the worker, or remove the node.",
    FailureCode.MODEL_MISSING: "Put the file into the models folder of the worker's ComfyUI.",
    FailureCode.INPUT_VALIDATION_FAILED: "Send a file that this node can read.",
    FailureCode.WORKFLOW_INVALID: "Repair the workflow in ComfyUI and deploy it again.",
    FailureCode.EXECUTION_FAILED: "Run it with the same inputs in ComfyUI; the worker's log has the whole error.",
    FailureCode.OUT_OF_MEMORY: "Use a smaller image, batch or model, or a worker with more memory.",
    FailureCode.INTERNAL: "The worker's log has the whole answer; please report it.",
}
_FILE_OF_THE_WORKFLOW = (
    "If the workflow itself names this file, deploy it again with the file in `resources`; if it is an input, send a "
    "file that this node can read."
)
_PRECEDENCE = (
    FailureCode.NODE_TYPE_MISSING,
    FailureCode.MODEL_MISSING,
    FailureCode.INPUT_VALIDATION_FAILED,
    FailureCode.WORKFLOW_INVALID,
)


def read_rejection(body: Mapping[str, Any], prompt: Prompt, hidden: tuple[str, ...] = ()) -> NodeError:
    """Read an answer to POST /prompt that has `error` or non-empty `node_errors`."""
    node_errors = body.get("node_errors")
    if isinstance(node_errors, Mapping) and node_errors:
        return _read_node_errors(node_errors, prompt, hidden)
    error = body.get("error")
    if not isinstance(error, Mapping):
        error = {"type": "unknown", "message": error or "no reason given"}
    kind = str(error.get("type"))
    message = clean(error.get("message", ""), hidden)
    node_id, node_type = _missing_node(error, prompt)
    if kind == "missing_node_type" or (kind == "invalid_prompt" and node_id is not None):
        where = describe_node(prompt, node_id, node_type) if node_id else f"a node of class {node_type}"
        if node_type is None:
            text = f"The workflow's {where} has no class_type."
            return _error(FailureCode.WORKFLOW_INVALID, text, prompt, node_id, node_type)
        text = f"The engine does not have the class of {where}."
        return _error(FailureCode.NODE_TYPE_MISSING, text, prompt, node_id, node_type)
    if kind == "prompt_no_outputs":
        next_step = "Add an output node, e.g. Runflow Output (Image), and deploy it again."
        return NodeError(FailureCode.WORKFLOW_INVALID, "The workflow has no output node that can run.", next_step)
    if kind == "invalid_prompt_id":
        return _error(FailureCode.INTERNAL, f"The engine refused the prompt's id: {message}.", prompt)
    return _error(FailureCode.WORKFLOW_INVALID, f"The engine refused the workflow: {message}.", prompt)


def read_execution_error(data: Mapping[str, Any], prompt: Prompt, hidden: tuple[str, ...] = ()) -> NodeError:
    """Read the data of an `execution_error` message."""
    node_id = str(data.get("node_id") or "")
    node_type = str(data.get("node_type") or "") or None
    exception = str(data.get("exception_type") or "Exception")[:_MOST_CHARACTERS]
    short = exception.rpartition(".")[2]
    raw = str(data.get("exception_message") or "")[:_MOST_CHARACTERS]
    message = clean(raw, hidden) or short
    where = describe_node(prompt, node_id, node_type)
    if _OUT_OF_MEMORY.search(exception) or _OUT_OF_MEMORY.search(raw):
        code, text = FailureCode.OUT_OF_MEMORY, f"The engine ran out of memory in {where}."
    elif node_type and _FILE_LOADER.match(node_type) and _NOT_A_MEDIA_FILE.search(f"{exception}: {raw}"):
        code, text = FailureCode.INPUT_VALIDATION_FAILED, f"The file that {where} was given cannot be read: {message}"
    else:
        code, text = FailureCode.EXECUTION_FAILED, f"The {where} raised {short}: {message}"
    told = _error(code, _sentence(text), prompt, node_id or None, node_type, short)
    return replace(told, traceback=_traceback(data.get("traceback"), f"{short}: {message}", hidden))


_MOST_CHARACTERS = 20_000
"""Of what a node raised; a node can raise a text of any length."""
_WANTED_NETWORK = re.compile(
    r"(?i)name resolution|network is unreachable|NameResolution|getaddrinfo|nodename nor servname|max retries exceeded"
    r"|offline mode|LocalEntryNotFound|couldn't connect|connection (refused|error)|no route to host"
)


def wanted_network(error: NodeError) -> NodeError:
    """Return the error of an engine without a network, with the next step where a network is what it wanted."""
    if not _WANTED_NETWORK.search(f"{error.exception_type}: {error.message}"):
        return error
    return replace(
        error,
        message=f"{error.message} Engines have no network here.",
        next_step="Give the node its files as models or inputs, or ask the operator for RUNFLOW_ENGINE_NETWORK=on.",
    )


_TRACEBACK_LINES = 60
_TRACEBACK_CHARACTERS = 12_000


def _traceback(lines: object, last: str, hidden: tuple[str, ...]) -> str | None:
    """Return the end of a traceback, cleaned line by line, with the exception under it."""
    if not isinstance(lines, list) or not lines:
        return None
    found = []
    text = "".join(str(line)[-_MOST_CHARACTERS:] for line in lines[-_TRACEBACK_LINES:])
    for line in text.splitlines()[-_TRACEBACK_LINES:]:
        said = clean(line, hidden)
        if said:
            found.append(line[: len(line) - len(line.lstrip())] + said)
    text = "\n".join([*found, last])
    return text if len(text) <= _TRACEBACK_CHARACTERS else "…" + text[-_TRACEBACK_CHARACTERS:]


def _read_node_errors(node_errors: Mapping[str, Any], prompt: Prompt, hidden: tuple[str, ...]) -> NodeError:
    found: list[tuple[FailureCode, str, str | None, dict[str, Any]]] = []
    for node_id, entry in node_errors.items():
        node_type = str(entry.get("class_type") or "") or None
        for error in entry.get("errors") or [{}]:
            field = (error.get("extra_info") or {}).get("input_name")
            code = _classify(error, node_type, field)
            text = _complaint(error, describe_node(prompt, node_id, node_type), field, code, hidden)
            detail = {
                "node_id": node_id,
                "node_type": node_type,
                "title": node_title(prompt, node_id),
                "field": field,
                "type": error.get("type"),
                "message": text,
            }
            found.append((code, node_id, node_type, detail))
    code, node_id, node_type, worst = min(found, key=lambda each: _PRECEDENCE.index(each[0]))
    message = worst["message"]
    others = len(found) - 1
    if others:
        message += f" ({others} more {'problem' if others == 1 else 'problems'}.)"
    details = tuple(detail for *_, detail in found)
    next_step = _FILE_OF_THE_WORKFLOW if code is FailureCode.INPUT_VALIDATION_FAILED else _NEXT_STEPS[code]
    return NodeError(code, message, next_step, node_id, node_type, node_title(prompt, node_id), None, details)


def _classify(error: Mapping[str, Any], node_type: str | None, field: str | None) -> FailureCode:
    kind = error.get("type")
    received = (error.get("extra_info") or {}).get("received_value")
    details = str(error.get("details") or "")
    loads_file = bool(node_type and _FILE_LOADER.match(node_type)) and (field is None or field in _FILE_FIELDS)
    if kind == "custom_validation_failed" and (_INVALID_FILE.search(details) or loads_file):
        return FailureCode.INPUT_VALIDATION_FAILED
    if kind == "value_not_in_list":
        if loads_file:
            return FailureCode.INPUT_VALIDATION_FAILED
        if (isinstance(received, str) and _MODEL_FILE.search(received)) or (field and _MODEL_FIELD.search(field)):
            return FailureCode.MODEL_MISSING
    return FailureCode.WORKFLOW_INVALID


def _complaint(
    error: Mapping[str, Any], where: str, field: str | None, code: FailureCode, hidden: tuple[str, ...]
) -> str:
    received = clean((error.get("extra_info") or {}).get("received_value", ""), hidden)
    if code is FailureCode.MODEL_MISSING:
        return f'The {where} needs the model file "{received}" ({field}), which the engine does not have.'
    if error.get("type") == "value_not_in_list":
        return f'The {where} does not accept "{received}" for {field}.'
    message = clean(error.get("message") or "Unknown problem", hidden).rstrip(".")
    details = clean(error.get("details") or "", hidden)
    about = f": {details}" if details and details != message else ""
    return _sentence(f"The engine does not accept {where}: {message}{about}")


def _missing_node(error: Mapping[str, Any], prompt: Prompt) -> tuple[str | None, str | None]:
    """Return id and class of the node that `missing_node_type`, or its forerunner `invalid_prompt`, is about."""
    extra = error.get("extra_info")
    if isinstance(extra, Mapping) and extra.get("node_id") is not None:
        node_id = str(extra["node_id"])
    else:
        found = _NODE_ID.search(str(error.get("details") or ""))
        if found is None:
            return None, None
        node_id = found.group(1)
    kind = prompt.get(node_id, {}).get("class_type")
    return node_id, str(kind) if kind else None


def _error(
    code: FailureCode,
    message: str,
    prompt: Prompt,
    node_id: str | None = None,
    node_type: str | None = None,
    exception_type: str | None = None,
) -> NodeError:
    title = node_title(prompt, node_id) if node_id else None
    return NodeError(code, message, _NEXT_STEPS[code], node_id, node_type, title, exception_type)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
