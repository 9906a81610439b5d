"""Why a run failed, in the platform's form: the node by id, title and class, the field, the input behind it, and what
to do next. Shapes of ComfyUI's answers: recorded from 0.3.12 to 0.33.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph import (
    FeedingInput,
    Prompt,
    check_values,
    describe_node,
    injected_input,
    inputs_behind,
    node_title,
)

_SHOWN = 600
_TRACEBACK_LINES = 40
_MEMORY = ("out of memory", "outofmemory", "allocation on device", "not enough memory", "can't allocate memory")

_REPAIR = "Repair it in the editor and capture the workflow again."
_CHANGE = "Change this input and run again."
_LOOK = "Change the inputs, or run the workflow in the editor; the details hold ComfyUI's own words."


def failure(code: str, message: str, next_step: str, **where: Any) -> dict[str, Any]:
    """An `error` as a run record carries it (docs/api/runs.md): `details` has `title`, `field`, `inputs`, `trace`."""
    known = ("node_id", "node_type")
    return {
        "code": code,
        "message": f"{_sentence(message)} {next_step}",
        **{name: where.get(name) for name in known},
        "details": {name: value for name, value in where.items() if name not in known and value},
    }


def refused_prompt(body: Mapping[str, Any], prompt: Prompt, captured: Prompt) -> dict[str, Any]:
    """The error of a prompt that ComfyUI did not take, or took only a part of (`POST /prompt`'s answer).

    `captured` is the prompt before values were bound: it also holds the wires of inputs that got no value.
    """
    nodes = body.get("node_errors")
    if isinstance(nodes, Mapping) and nodes:
        return _node_errors(nodes, prompt, captured)
    error = body.get("error")
    error = error if isinstance(error, Mapping) else {"message": str(error or "ComfyUI gave no reason")}
    extra = error.get("extra_info")
    node_id = str(extra.get("node_id") or "") if isinstance(extra, Mapping) else ""
    if error.get("type") in ("missing_node_type", "invalid_prompt") and node_id in prompt:
        where = _where(prompt, node_id)
        message = f"This ComfyUI does not have the class of {describe_node(prompt, node_id)}."
        step = "Install the custom node that brings it (Auto setup does), or remove the node."
        return failure("NODE_TYPE_MISSING", message, step, **where)
    if error.get("type") == "prompt_no_outputs":
        step = "Add a Runflow Output node and capture the workflow again."
        return failure("WORKFLOW_INVALID", "The workflow has no output node that can run.", step)
    said = " ".join(str(error.get(name) or "") for name in ("message", "details")).strip()
    return failure("WORKFLOW_INVALID", f"ComfyUI refused the workflow: {said[:_SHOWN]}", _REPAIR)


def failed_node(data: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
    """The error of a node that raised an exception (the data of `execution_error`)."""
    node_id = str(data.get("node_id") or "")
    exception = str(data.get("exception_type") or "Exception").rpartition(".")[2]
    said = " ".join(str(data.get("exception_message") or "").split())[:_SHOWN]
    where = _where(prompt, node_id, str(data.get("node_type") or "") or None)
    where["trace"] = _trace(data)
    name = injected_input(prompt, node_id)
    if name is not None:
        return failure(
            "INPUT_VALIDATION_FAILED", f'The picture of input "{name}" cannot be read: {said}', _CHANGE, **where
        )
    node = describe_node(prompt, node_id)
    if any(sign in f"{exception} {said}".lower() for sign in _MEMORY):
        return failure("OUT_OF_MEMORY", f"ComfyUI ran out of memory in {node}.", "Use smaller sizes.", **where)
    fed = _fed_by(where)
    return failure("EXECUTION_FAILED", f"The {node} raised {exception}: {said or 'no message'}", fed or _LOOK, **where)


def _node_errors(nodes: Mapping[str, Any], prompt: Prompt, captured: Prompt) -> dict[str, Any]:
    problems: list[dict[str, Any]] = []
    steps: list[str] = []
    for node_id, entry in nodes.items():
        for error in entry.get("errors") or [{}]:
            field = (error.get("extra_info") or {}).get("input_name")
            where = _where(prompt, node_id, entry.get("class_type"), field)
            step = _CHANGE if where["inputs"] else _REPAIR
            if field and not where["inputs"] and error.get("type") == "required_input_missing":
                where["inputs"] = _inputs_behind(captured, node_id, field)
                step = f'Give input "{where["inputs"][0]["name"]}" a value.' if where["inputs"] else step
            said = ": ".join(str(error[name]) for name in ("message", "details") if error.get(name))
            what = f'field "{field}" of {describe_node(prompt, node_id)}' if field else describe_node(prompt, node_id)
            name = injected_input(prompt, node_id)
            what = f'the picture of input "{name}"' if name is not None else what
            steps.append(step)
            problems.append(
                {**where, "message": f"ComfyUI does not accept {what}: {said[:_SHOWN] or 'no reason given'}"}
            )
    first, *others = problems
    more = f" ({len(others)} more {'problem' if len(others) == 1 else 'problems'}.)" if others else ""
    code = "INPUT_VALIDATION_FAILED" if first["inputs"] else "WORKFLOW_INVALID"
    where = {name: value for name, value in first.items() if name != "message"}
    return failure(code, _sentence(first["message"]) + more, steps[0], **where, problems=problems if others else None)


def _where(prompt: Prompt, node_id: str, node_type: str | None = None, field: str | None = None) -> dict[str, Any]:
    node: Mapping[str, Any] = prompt.get(node_id, {})
    return {
        "node_id": node_id or None,
        "node_type": node_type or node.get("class_type"),
        "title": node_title(node),
        "field": field,
        "inputs": _inputs_behind(prompt, node_id, field),
    }


def _inputs_behind(prompt: Prompt, node_id: str, field: str | None) -> list[dict[str, str]]:
    """Which inputs of the API feed the node, and into which of its fields; only those of `field` when it is known."""
    return [{"name": each.name, "field": each.field} for each in inputs_behind(prompt, node_id, field)]


def _fed_by(where: Mapping[str, Any]) -> str:
    return check_values([FeedingInput(each["name"], each["field"]) for each in where["inputs"]])


def _trace(data: Mapping[str, Any]) -> str:
    lines = data.get("traceback")
    return "".join(str(line) for line in lines[-_TRACEBACK_LINES:]) if isinstance(lines, (list, tuple)) else ""


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?", "…", ")")) else f"{text}."
