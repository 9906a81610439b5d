"""Where a row's value goes: to which nodes, do they exist, and what does it make idle?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .problems import GraphProblem, InterfaceError
from .prompt import Prompt, consumers, describe_node, is_link, node_problem
from .runflow_nodes import FILE_NAME_FIELD, INPUT_CLASSES, VALUE_FIELD
from .spec import InputSpec, Interface


def check_targets(prompt: Prompt, interface: Interface) -> None:
    """Make sure that every row of `interface` names a node, and every input a field, that `prompt` has.

    `value` (and `file_name`) of a Runflow Input node always exists, because Deploy removes it from the prompt.

    Raises:
        InterfaceError: a target is missing, an input name or an input's target is used twice.
    """
    problems: list[GraphProblem] = []
    names: set[str] = set()
    targets: dict[tuple[str, str], str] = {}
    for spec in interface.inputs:
        node_id, field = spec.comfyui_node_id, spec.comfyui_field_name
        if spec.name in names:
            problems.append(GraphProblem(f'The input name "{spec.name}" is used twice.', "Rename one.", node_id))
        names.add(spec.name)
        taken_by = targets.setdefault((node_id, field), spec.name)
        if taken_by != spec.name:
            message = f'The inputs "{taken_by}" and "{spec.name}" both write field "{field}" of node {node_id}.'
            problems.append(node_problem(prompt, node_id, message, "Give each input a target of its own."))
        if not has_target(prompt, node_id, field):
            problems.append(missing_target(prompt, f'Input "{spec.name}"', node_id, field))
    problems += [
        missing_target(prompt, f'Output "{spec.name}"', spec.comfyui_node_id, None)
        for spec in interface.outputs
        if spec.comfyui_node_id not in prompt
    ]
    if problems:
        raise InterfaceError(problems)


def has_target(prompt: Prompt, node_id: str, field: str) -> bool:
    """Whether a value can be written to `field` of node `node_id`."""
    node = prompt.get(node_id)
    if node is None:
        return False
    if node["class_type"] in INPUT_CLASSES and field in (VALUE_FIELD, FILE_NAME_FIELD):
        return True
    return field in node["inputs"]


def missing_target(prompt: Prompt, who: str, node_id: str, field: str | None) -> GraphProblem:
    """The problem of a row (`who`, such as `Input "seed"`) whose node or field is not in the prompt."""
    if node_id not in prompt:
        message = f"{who} targets node {node_id}, which is not in the workflow."
        return GraphProblem(message, "Set comfyui_node_id to a node of the workflow or remove the row.", node_id)
    fields = ", ".join(sorted(prompt[node_id]["inputs"])[:20]) or "none"
    message = f'{who} targets field "{field}" of {describe_node(prompt, node_id)}, which has no such field.'
    return node_problem(prompt, node_id, message, f"Set comfyui_field_name to one of its fields: {fields}.")


def twins(prompt: Prompt) -> dict[tuple[str, str], list[str]]:
    """The Runflow Input nodes by class and `input_id`."""
    found: dict[tuple[str, str], list[str]] = {}
    for node_id, node in prompt.items():
        if node["class_type"] in INPUT_CLASSES:
            found.setdefault((node["class_type"], _input_id(node)), []).append(node_id)
    return found


def value_targets(prompt: Prompt, spec: InputSpec, by_id: Mapping[tuple[str, str], list[str]]) -> list[str]:
    """The nodes that receive the value: the named one and, for a Runflow Input node, its `twins`."""
    node = prompt[spec.comfyui_node_id]
    input_id = _input_id(node)
    if node["class_type"] not in INPUT_CLASSES or spec.comfyui_field_name != VALUE_FIELD or not input_id:
        return [spec.comfyui_node_id]
    return by_id[node["class_type"], input_id]


def idle_nodes(prompt: Prompt, interface: Interface) -> set[str]:
    """The nodes whose every wire leads to a place that each run gives another value: no run needs what they make.

    Such is an author's wiring for trying the workflow out, a LoadImage before Runflow Input (Image) for example.
    """
    replaced = _replaced(prompt, interface)
    leaving = {node_id: set(ends) - replaced for node_id, ends in consumers(prompt).items()}
    idle: set[str] = set()
    waiting = [node_id for node_id, ends in leaving.items() if not ends]
    while waiting:
        node_id = waiting.pop()
        if node_id in idle or node_id not in prompt:
            continue
        idle.add(node_id)
        for field, value in prompt[node_id]["inputs"].items():
            if is_link(value):
                leaving[value[0]].discard((node_id, field))
                if not leaving[value[0]]:
                    waiting.append(value[0])
    return idle


def _replaced(prompt: Prompt, interface: Interface) -> set[tuple[str, str]]:
    by_id = twins(prompt)
    found: set[tuple[str, str]] = set()
    for spec in interface.inputs:
        if not has_target(prompt, spec.comfyui_node_id, spec.comfyui_field_name):
            continue
        for node_id in value_targets(prompt, spec, by_id):
            # A field of another node keeps its wire when an optional input without a default is left out.
            keeps = not spec.is_required and spec.default_value is None
            if not keeps or prompt[node_id]["class_type"] in INPUT_CLASSES:
                found.add((node_id, spec.comfyui_field_name))
    return found


def _input_id(node: Mapping[str, Any]) -> str:
    value = node["inputs"].get("input_id")
    return value.strip() if isinstance(value, str) else ""
