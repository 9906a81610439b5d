"""Reading the interface that the Runflow nodes of a prompt declare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .coerce import DefaultValue, ValueRefused, coerce_default, coerce_value
from .effective import with_effective_defaults
from .limits import NO_LIMITS, Limits
from .problems import GraphProblem, InterfaceError
from .prompt import Prompt, check_prompt, describe_node, is_link, node_order, node_problem
from .runflow_nodes import (
    CHOICE_CLASS,
    CHOICES_FIELD,
    DEFAULT_FIELD,
    FILE_NAME_FIELD,
    INPUT_CLASSES,
    OUTPUT_CLASSES,
    VALUE_FIELD,
    InputType,
    choices_of,
    default_id,
    default_text,
)
from .spec import InputSpec, Interface, OutputSpec

__all__ = ["InputSpec", "Interface", "OutputSpec", "read_interface"]


def read_interface(prompt: object) -> Interface:
    """Read the interface from the Runflow Input and Output nodes of an API-format prompt, in node order.

    An input node with an empty `input_id` is no part of the interface. An absent `required` means required, but for a
    file input that has a `file_name`; an empty label means the id. A literal `value` left in an input node is its
    default, a link there is local test wiring; without such a literal it is the widget `default_value`, of a file input
    its `file_name`. Numbers have limits in `min`, `max` and `step`, a choice in `choices`.
    Several input nodes with one `input_id` and one class make one input. An output node with an empty `output_id` uses
    its class's default id, so no file is lost.

    Raises:
        PromptError: `prompt` is no well-formed API-format prompt.
        InterfaceError: a widget has an unusable value, or one `input_id` is used with two types.
    """
    checked = check_prompt(prompt)
    problems: list[GraphProblem] = []
    inputs: dict[str, InputSpec] = {}
    outputs: list[OutputSpec] = []
    for node_id in sorted(checked, key=node_order):
        class_type = checked[node_id]["class_type"]
        if class_type in INPUT_CLASSES:
            spec = _read_input(checked, node_id, len(inputs), problems)
            if spec is None:
                continue
            first = inputs.setdefault(spec.name, spec)
            if checked[first.comfyui_node_id]["class_type"] != class_type:
                problems.append(_two_types(checked, first, spec))
        elif class_type in OUTPUT_CLASSES:
            outputs.append(_read_output(checked, node_id, len(outputs), problems))
    if problems:
        raise InterfaceError(problems)
    return with_effective_defaults(checked, Interface(tuple(inputs.values()), tuple(outputs)))


def _read_input(prompt: Prompt, node_id: str, order: int, problems: list[GraphProblem]) -> InputSpec | None:
    widgets = prompt[node_id]["inputs"]
    name = _widget_text(prompt, node_id, "input_id", problems)
    if not name:
        return None
    kind = INPUT_CLASSES[prompt[node_id]["class_type"]]
    default, limits = _read_default(prompt, node_id, kind, widgets, problems), _read_limits(prompt, node_id, problems)
    _check_limits(prompt, node_id, default, limits, problems)
    return InputSpec(
        name=name,
        variable_type_code=kind,
        display_name=_widget_text(prompt, node_id, "display_name", problems) or name,
        description=_widget_text(prompt, node_id, "description", problems),
        is_required=_read_required(prompt, node_id, problems),
        default_value=default,
        sort_order=order,
        comfyui_node_id=node_id,
        comfyui_field_name=VALUE_FIELD,
        origin="node",
        limits=limits,
    )


def _read_limits(prompt: Prompt, node_id: str, problems: list[GraphProblem]) -> Limits:
    class_type = prompt[node_id]["class_type"]
    kind = INPUT_CLASSES[class_type]
    if class_type == CHOICE_CLASS:
        choices = choices_of(prompt[node_id]["inputs"].get(CHOICES_FIELD))
        if not choices:
            message = f"{describe_node(prompt, node_id)} lists no choices, so callers could send nothing."
            problems.append(node_problem(prompt, node_id, message, "Type them into the node, one in each line."))
        return Limits(choices=choices)
    if kind not in (InputType.INT, InputType.FLOAT):
        return NO_LIMITS
    found = {field: _widget_number(prompt, node_id, field, kind, problems) for field in ("min", "max", "step")}
    return Limits(minimum=found["min"], maximum=found["max"], step=found["step"])


def _widget_number(
    prompt: Prompt, node_id: str, field: str, kind: InputType, problems: list[GraphProblem]
) -> int | float | None:
    held = prompt[node_id]["inputs"].get(field)
    if held is None or held == "":
        return None
    try:
        number = coerce_value(kind, held)
        if isinstance(number, (int, float)) and (field != "step" or number > 0):
            return number
        why = f"takes a number above 0, but got {number!r}."
    except ValueRefused as refused:
        why = str(refused)
    message = f'"{field}" of {describe_node(prompt, node_id)} cannot be used: it {why}'
    problems.append(node_problem(prompt, node_id, message, f"Repair or clear {field} in the node."))
    return None


def _check_limits(
    prompt: Prompt, node_id: str, default: DefaultValue, limits: Limits, problems: list[GraphProblem]
) -> None:
    fault = limits.fault()
    if fault is not None:
        message = f"{describe_node(prompt, node_id)} {fault} No value would be taken."
        problems.append(node_problem(prompt, node_id, message, "Repair or clear its limits."))
        return
    refused = limits.refusal(default) if default is not None else None
    if refused:
        message = f"The default of {describe_node(prompt, node_id)} cannot be used: the input {refused}"
        problems.append(node_problem(prompt, node_id, message, "Change the default or the limits in the node."))


def _read_output(prompt: Prompt, node_id: str, order: int, problems: list[GraphProblem]) -> OutputSpec:
    class_type = prompt[node_id]["class_type"]
    name = _widget_text(prompt, node_id, "output_id", problems) or default_id(class_type)
    return OutputSpec(
        name=name,
        variable_type_code=OUTPUT_CLASSES[class_type],
        display_name=_widget_text(prompt, node_id, "output_name", problems) or name,
        description="",
        sort_order=order,
        comfyui_node_id=node_id,
        comfyui_field_name=VALUE_FIELD,
        origin="node",
    )


def _widget_text(prompt: Prompt, node_id: str, field: str, problems: list[GraphProblem]) -> str:
    value = prompt[node_id]["inputs"].get(field)
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    what = "linked to another node" if is_link(value) else "not a text"
    message = f'"{field}" of {describe_node(prompt, node_id)} is {what}; the API needs a fixed text there.'
    problems.append(node_problem(prompt, node_id, message, f"Type the {field} into the widget of the node."))
    return ""


def _read_required(prompt: Prompt, node_id: str, problems: list[GraphProblem]) -> bool:
    node = prompt[node_id]
    value = node["inputs"].get("required")
    if value is None:
        # Nodes from before the widget: a file that its author chose is what callers may leave out.
        file_name = node["inputs"].get(FILE_NAME_FIELD)
        has_file = isinstance(file_name, str) and bool(file_name)
        return not (has_file and INPUT_CLASSES[node["class_type"]] is InputType.FILE)
    try:
        return bool(coerce_value(InputType.BOOLEAN, value))
    except ValueRefused:
        message = f'"required" of {describe_node(prompt, node_id)} is neither on nor off.'
        problems.append(node_problem(prompt, node_id, message, "Set the widget to true or false."))
        return True


def _read_default(
    prompt: Prompt, node_id: str, kind: InputType, widgets: Mapping[str, Any], problems: list[GraphProblem]
) -> DefaultValue:
    value = widgets.get(VALUE_FIELD)
    if is_link(value) or (kind.is_media and value == ""):
        value = None
    if value is None and not kind.is_media:
        held = default_text(prompt[node_id]["class_type"], widgets.get(DEFAULT_FIELD))
        value = None if is_link(held) else held
    if value is None and kind is InputType.FILE:
        file_name = widgets.get(FILE_NAME_FIELD)
        value = None if file_name == "" or is_link(file_name) else file_name
    try:
        return coerce_default(kind, value)
    except ValueRefused as refused:
        message = f"The default of {describe_node(prompt, node_id)} cannot be used: {refused}"
        problems.append(node_problem(prompt, node_id, message, "Repair or clear the value in the node."))
        return None


def _two_types(prompt: Prompt, first: InputSpec, second: InputSpec) -> GraphProblem:
    same = first.variable_type_code is second.variable_type_code
    message = (
        f'The input_id "{first.name}" is used with two {"classes" if same else "types"}: {first.variable_type_code} by '
        f"{describe_node(prompt, first.comfyui_node_id)} and {second.variable_type_code} by "
        f"{describe_node(prompt, second.comfyui_node_id)}."
    )
    step = "Give one of the nodes another input_id, or use the same Runflow Input class for both."
    return node_problem(prompt, second.comfyui_node_id, message, step)
