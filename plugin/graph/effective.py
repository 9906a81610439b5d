"""What a run really uses for an optional input that its caller leaves out, as far as the prompt tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from .coerce import DefaultValue, ValueRefused, coerce_default
from .prompt import Prompt, consumers, widget_values
from .runflow_nodes import FILE_NAME_FIELD, INPUT_CLASSES, VALUE_FIELD, InputType
from .spec import InputSpec, Interface
from .targets import has_target, twins, value_targets

Consumers = Mapping[str, list[tuple[str, str]]]


def with_effective_defaults(prompt: Prompt, interface: Interface) -> Interface:
    """The interface with `effective_default` of each optional input; its own `default_value` stays what it is."""
    by_id, consumed = twins(prompt), consumers(prompt)
    inputs = tuple(
        replace(spec, effective_default=_effective(prompt, spec, by_id, consumed)) for spec in interface.inputs
    )
    return replace(interface, inputs=inputs)


def _effective(
    prompt: Prompt, spec: InputSpec, by_id: Mapping[tuple[str, str], list[str]], consumed: Consumers
) -> DefaultValue:
    """The one value that `bind` leaves everywhere when the input is omitted; None where there is none, or several."""
    if spec.is_required or not has_target(prompt, spec.comfyui_node_id, spec.comfyui_field_name):
        return None
    if spec.default_value is not None:
        return spec.default_value
    if prompt[spec.comfyui_node_id]["class_type"] not in INPUT_CLASSES:
        held = [prompt[spec.comfyui_node_id]["inputs"].get(spec.comfyui_field_name)]
    elif spec.comfyui_field_name == VALUE_FIELD:
        held = list(_left(prompt, value_targets(prompt, spec, by_id), consumed))
    else:
        return None
    first = held[0] if held else None
    # 1 and True are equal and not the same.
    if not isinstance(first, (str, int, float)) or any(type(each) is not type(first) or each != first for each in held):
        return None
    try:
        return coerce_default(spec.variable_type_code, first)
    except ValueRefused:
        return None


def _left(prompt: Prompt, targets: list[str], consumed: Consumers) -> Iterator[object]:
    """What each place behind these Runflow Input nodes uses when they get no value."""
    for node_id in targets:
        node = prompt[node_id]
        if INPUT_CLASSES[node["class_type"]] is InputType.FILE and node["inputs"].get(FILE_NAME_FIELD):
            yield node["inputs"][FILE_NAME_FIELD]
            continue
        for consumer, field in consumed.get(node_id, ()):
            if prompt[consumer]["class_type"] not in INPUT_CLASSES:
                yield widget_values(prompt[consumer]).get(field)
