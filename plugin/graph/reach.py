"""Which nodes of a prompt ComfyUI executes: the output nodes, and what they depend on."""

from __future__ import annotations

from collections.abc import Callable

from .prompt import Prompt, is_link


def executed_nodes(prompt: Prompt, is_output: Callable[[str], bool]) -> set[str]:
    """The ids of the nodes that a run executes; `is_output` says of a class whether it is an output node.

    A link to a node that is not there is ignored.
    """
    found: set[str] = set()
    waiting = [node_id for node_id, node in prompt.items() if is_output(str(node.get("class_type")))]
    while waiting:
        node_id = waiting.pop()
        if node_id in found or node_id not in prompt:
            continue
        found.add(node_id)
        waiting += [value[0] for value in prompt[node_id].get("inputs", {}).values() if is_link(value)]
    return found
