"""Warnings about a workflow that can be deployed, but would surprise its author or its callers later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .problems import GraphWarning
from .prompt import Prompt, consumers, describe_node, is_link, node_order, widget_values
from .runflow_nodes import (
    CHOICES_FIELD,
    DEFAULT_FIELD,
    FILE_NAME_FIELD,
    INPUT_CLASSES,
    OUTPUT_CLASSES,
    VALUE_FIELD,
    InputType,
    default_text,
)
from .spec import InputSpec, Interface

_NAMED_CONSUMERS = 5
_LIMIT_FIELDS = ("min", "max", "step", CHOICES_FIELD)


def find_warnings(prompt: Prompt, interface: Interface) -> tuple[GraphWarning, ...]:
    """The `warnings[]` of create and PATCH that the prompt and its interface give (docs/api/workflows.md)."""
    found = [*_about_outputs(prompt, interface), *_about_inputs(prompt, interface)]
    return tuple(found)


def _about_outputs(prompt: Prompt, interface: Interface) -> Iterator[GraphWarning]:
    if not interface.outputs:
        yield GraphWarning(
            None,
            "The workflow declares no output; a run delivers every file that its nodes save, named by node id.",
            "Add a Runflow Output node behind each result that callers should get.",
        )
    names = Counter(spec.name for spec in interface.outputs)
    for spec in interface.outputs:
        node = prompt.get(spec.comfyui_node_id)
        if node is None:
            continue
        if names[spec.name] > 1:
            yield GraphWarning(
                spec.comfyui_node_id,
                f'{names[spec.name]} outputs share the output_id "{spec.name}"; callers cannot tell their files apart.',
                "Give each Runflow Output node an output_id of its own, unless that is what you want.",
            )
        if node["class_type"] not in OUTPUT_CLASSES:
            continue
        if VALUE_FIELD not in node["inputs"]:
            yield GraphWarning(
                spec.comfyui_node_id,
                f"Nothing is wired to {describe_node(prompt, spec.comfyui_node_id)}, so every run will fail.",
                "Wire its value or remove the node.",
            )
        if spec.origin == "node" and not _text(node["inputs"].get("output_id")):
            yield GraphWarning(
                spec.comfyui_node_id,
                f'{describe_node(prompt, spec.comfyui_node_id)} has no output_id; its files are called "{spec.name}".',
                "Type an output_id into the node.",
            )


def _about_inputs(prompt: Prompt, interface: Interface) -> Iterator[GraphWarning]:
    consumed = consumers(prompt)
    twins: dict[tuple[str, str], list[str]] = {}
    for node_id in sorted(prompt, key=node_order):
        node = prompt[node_id]
        if node["class_type"] not in INPUT_CLASSES:
            continue
        twins.setdefault((node["class_type"], _text(node["inputs"].get("input_id"))), []).append(node_id)
    exposed = {node_id for spec in interface.inputs for node_id in _targets(prompt, spec, twins)}
    for node_id in (node_id for group in twins.values() for node_id in group):
        node = prompt[node_id]
        unfed = _unfed(prompt, node_id, consumed)
        held = default_text(node["class_type"], node["inputs"].get(DEFAULT_FIELD))
        if unfed and node_id not in exposed and VALUE_FIELD not in node["inputs"] and held is None:
            yield GraphWarning(
                node_id,
                f"{describe_node(prompt, node_id)} belongs to no input and holds no value, so nothing feeds {unfed}; a "
                "node that requires that socket fails every run.",
                "Add the input again, or put the value into the node and deploy again.",
            )
        if not _text(node["inputs"].get("input_id")):
            yield GraphWarning(
                node_id,
                f"{describe_node(prompt, node_id)} has no input_id, so callers cannot set it.",
                "Type an input_id into the node, or ignore this if the value is fixed.",
            )
        if not consumed.get(node_id):
            yield GraphWarning(
                node_id,
                f"Nothing is wired to the output of {describe_node(prompt, node_id)}; its value has no effect.",
                "Wire it to the nodes that should receive the value, or remove it.",
            )
    for spec in interface.inputs:
        yield from _about_limits(prompt, spec, _targets(prompt, spec, twins))
        if spec.is_required:
            continue
        for node_id in _targets(prompt, spec, twins):
            if spec.default_value is None:
                yield from _about_omission(prompt, spec, node_id, consumed)
            else:
                yield from _about_another_value(prompt, spec, node_id)


def _about_limits(prompt: Prompt, spec: InputSpec, targets: list[str]) -> Iterator[GraphWarning]:
    refused = spec.limits.refusal(spec.effective_default) if spec.effective_default is not None else None
    if refused:
        yield GraphWarning(
            spec.comfyui_node_id,
            f'What the workflow uses when a caller omits "{spec.name}" is refused when a caller sends it: the input '
            f"{refused}",
            "Give the input a default within its limits, or change the widget behind it.",
        )
    first = prompt.get(spec.comfyui_node_id)
    for node_id in targets:
        inputs = prompt[node_id]["inputs"]
        fields = [
            field
            for field in _LIMIT_FIELDS
            if first and (inputs.get(field) or "") != (first["inputs"].get(field) or "")
        ]
        if fields:
            yield GraphWarning(
                node_id,
                f'{describe_node(prompt, node_id)} shares the input_id "{spec.name}" with node {spec.comfyui_node_id}, '
                f"whose {' and '.join(fields)} counts for both.",
                "Give the node the same widgets, or an input_id of its own.",
            )


def _about_omission(
    prompt: Prompt, spec: InputSpec, node_id: str, consumed: dict[str, list[tuple[str, str]]]
) -> Iterator[GraphWarning]:
    unfed = _unfed(prompt, node_id, consumed)
    if unfed:
        yield GraphWarning(
            node_id,
            f'The optional input "{spec.name}" has no default. When a caller omits it, nothing feeds {unfed}; '
            "a node that requires that socket then fails the run.",
            "Make the input required, wire it to optional sockets only, or set its default_value.",
        )


def _about_another_value(prompt: Prompt, spec: InputSpec, node_id: str) -> Iterator[GraphWarning]:
    inputs = prompt[node_id]["inputs"]
    value = inputs.get(VALUE_FIELD, default_text(prompt[node_id]["class_type"], inputs.get(DEFAULT_FIELD)))
    if node_id == spec.comfyui_node_id or value is None or is_link(value) or str(value) == str(spec.default_value):
        return
    yield GraphWarning(
        node_id,
        f'{describe_node(prompt, node_id)} shares the input_id "{spec.name}" with node {spec.comfyui_node_id} and '
        "holds another value. When a caller omits the input, both get its default_value.",
        "Give the node the same value, or an input_id of its own.",
    )


def _targets(prompt: Prompt, spec: InputSpec, twins: dict[tuple[str, str], list[str]]) -> list[str]:
    """The Runflow Input nodes that get the value of an input."""
    node = prompt.get(spec.comfyui_node_id)
    if node is None or node["class_type"] not in INPUT_CLASSES or spec.comfyui_field_name != VALUE_FIELD:
        return []
    input_id = _text(node["inputs"].get("input_id"))
    return twins[node["class_type"], input_id] if input_id else [spec.comfyui_node_id]


def _unfed(prompt: Prompt, node_id: str, consumed: dict[str, list[tuple[str, str]]]) -> str:
    """The sockets that get nothing when a Runflow Input node gets nothing; empty where it has a file of its own."""
    node = prompt[node_id]
    if INPUT_CLASSES[node["class_type"]] is InputType.FILE and node["inputs"].get(FILE_NAME_FIELD):
        return ""
    fields = [
        f'"{field}" of {describe_node(prompt, consumer)}'
        for consumer, field in consumed.get(node_id, ())
        if prompt[consumer]["class_type"] not in INPUT_CLASSES and field not in widget_values(prompt[consumer])
    ]
    more = f" and {len(fields) - _NAMED_CONSUMERS} more" if len(fields) > _NAMED_CONSUMERS else ""
    return ", ".join(fields[:_NAMED_CONSUMERS]) + more


def _text(widget: object) -> str:
    return widget.strip() if isinstance(widget, str) else ""
