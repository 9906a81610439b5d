"""Where a row's value goes: does that node and field exist?"""

from __future__ import annotations

from .problems import GraphProblem, InterfaceError
from .prompt import Prompt, describe_node, node_problem
from .runflow_nodes import FILE_NAME_FIELD, INPUT_CLASSES, VALUE_FIELD
from .spec import Interface


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
