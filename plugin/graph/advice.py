"""Warnings about a workflow that can be deployed, but would surprise its author or its callers later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .problems import GraphWarning
from .prompt import Prompt, consumers, describe_node, node_order
from .runflow_nodes import FILE_NAME_FIELD, INPUT_CLASSES, OUTPUT_CLASSES, VALUE_FIELD
from .spec import InputSpec, Interface
from .types import InputType

_NAMED_CONSUMERS = 5


def find_warnings(prompt: Prompt, interface: Interface) -> tuple[GraphWarning, ...]:
    """The `warnings[]` of create and PATCH that the prompt and its interface give (decisions.md, Workflows)."""
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
        yield from _about_omission(prompt, spec, consumed, twins)


def _about_omission(
    prompt: Prompt,
    spec: InputSpec,
    consumed: dict[str, list[tuple[str, str]]],
    twins: dict[tuple[str, str], list[str]],
) -> Iterator[GraphWarning]:
    if spec.is_required or spec.default_value is not None or spec.comfyui_field_name != VALUE_FIELD:
        return
    first = prompt.get(spec.comfyui_node_id)
    if first is None or first["class_type"] not in INPUT_CLASSES:
        return
    for node_id in twins[first["class_type"], _text(first["inputs"].get("input_id"))]:
        node = prompt[node_id]
        if INPUT_CLASSES[node["class_type"]] is InputType.FILE and node["inputs"].get(FILE_NAME_FIELD):
            continue
        open_fields = [
            f'"{field}" of {describe_node(prompt, consumer)}'
            for consumer, field in consumed.get(node_id, ())
            if prompt[consumer]["class_type"] not in INPUT_CLASSES
        ]
        if not open_fields:
            continue
        named = ", ".join(open_fields[:_NAMED_CONSUMERS])
        if len(open_fields) > _NAMED_CONSUMERS:
            named += f" and {len(open_fields) - _NAMED_CONSUMERS} more"
        yield GraphWarning(
            node_id,
            f'The optional input "{spec.name}" has no default. When a caller omits it, nothing feeds {named}; '
            "a node that requires that socket then fails the run.",
            "Set a default_value for the input, make it required, or wire it to optional sockets only.",
        )


def _text(widget: object) -> str:
    return widget.strip() if isinstance(widget, str) else ""
