"""Which inputs of the API feed a node: what a failure names, so that a caller knows which value to repair."""

from __future__ import annotations

from dataclasses import dataclass

from .bind import injected_input
from .prompt import Prompt, is_link
from .runflow_nodes import INPUT_CLASSES
from .spec import Interface


@dataclass(frozen=True)
class FeedingInput:
    """An input of the API, and the field of the node that its value goes to."""

    name: str
    field: str


def inputs_behind(
    prompt: Prompt, node_id: str, field: str | None = None, interface: Interface | None = None
) -> list[FeedingInput]:
    """The inputs that feed a node directly, bound or not; only those of `field` where it is known.

    With `interface` also those whose target is a field of the node itself, without a Runflow Input node.
    """
    injected = injected_input(prompt, node_id)
    if injected is not None:
        return [FeedingInput(injected, field or "image")]
    own = _declared(prompt, node_id)
    if own is not None:
        return [FeedingInput(own, field or "value")]
    found = []
    for name, value in prompt.get(node_id, {}).get("inputs", {}).items():
        source = None
        if is_link(value):
            source = _declared(prompt, value[0]) or injected_input(prompt, value[0])
        if source is not None and field in (None, name):
            found.append(FeedingInput(source, name))
    targets = interface.inputs if interface is not None else ()
    found += [
        FeedingInput(spec.name, spec.comfyui_field_name)
        for spec in targets
        if spec.comfyui_node_id == node_id and field in (None, spec.comfyui_field_name)
    ]
    return list(dict.fromkeys(found))


def check_values(inputs: list[FeedingInput]) -> str:
    """The sentence that tells where a node's values came from; empty where they came from no input."""
    fed = [f'its "{each.field}" comes from input "{each.name}"' for each in inputs]
    return f"Check the values: {', '.join(fed)}." if fed else ""


def _declared(prompt: Prompt, node_id: str) -> str | None:
    node = prompt.get(node_id, {})
    name = node.get("inputs", {}).get("input_id") if node.get("class_type") in INPUT_CLASSES else None
    return name.strip() if isinstance(name, str) and name.strip() else None
