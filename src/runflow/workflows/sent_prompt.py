"""The prompt in what callers send as `workflow_json`: tools wrap it, number its links, and leave notes in it. Pure."""

from collections.abc import Mapping
from typing import Any

NOTES = frozenset({"Note", "MarkdownNote"})
"""Nodes of the editor alone: no ComfyUI can run them, and none of its own exports has them."""

_WRAPPERS = ("output", "prompt")
"""Where ComfyUI's `graphToPrompt` and the body of its `POST /prompt` have the prompt."""

_SLOTS = 100
"""No node has so many outputs."""


def sent_documents(documents: Mapping[str, Any]) -> dict[str, Any]:
    """Return the documents of a body with the bare prompt as `workflow_json`; nothing that was given is changed.

    A wrapper that holds the graph too gives `graph`, where the body has none of its own.
    """
    found = dict(documents)
    prompt, graph = _unwrapped(found.get("workflow_json"))
    found["workflow_json"] = _plain(prompt)
    if graph is not None and found.get("graph") is None:
        found["graph"] = graph
    return found


def _unwrapped(sent: Any) -> tuple[Any, Mapping[str, Any] | None]:
    if not isinstance(sent, Mapping):
        return sent, None
    for key in _WRAPPERS:
        inner = sent.get(key)
        # A node may have such a word as its id.
        if not isinstance(inner, Mapping) or "class_type" in inner:
            continue
        if key == "output" and set(sent) - {"output", "workflow"}:
            continue
        return inner, _graph_beside(sent)
    return sent, None


def _graph_beside(sent: Mapping[str, Any]) -> Mapping[str, Any] | None:
    graph: Any = sent.get("workflow")
    if graph is None:
        graph = sent
        for key in ("extra_data", "extra_pnginfo", "workflow"):
            graph = graph.get(key) if isinstance(graph, Mapping) else None
    return graph if isinstance(graph, Mapping) else None


def _plain(prompt: Any) -> Any:
    """Return the prompt without notes and with the ids in its links as texts; what is no prompt stays as it is."""
    if not isinstance(prompt, Mapping):
        return prompt
    kept = {node_id: node for node_id, node in prompt.items() if not _is_note(node)}
    return {node_id: _with_text_ids(node, kept) for node_id, node in kept.items()} or prompt


def _is_note(node: Any) -> bool:
    return isinstance(node, Mapping) and node.get("class_type") in NOTES


def _with_text_ids(node: Any, prompt: Mapping[str, Any]) -> Any:
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    if not isinstance(inputs, Mapping) or not any(_is_numbered(value, prompt) for value in inputs.values()):
        return node
    linked = {
        field: [str(value[0]), value[1]] if _is_numbered(value, prompt) else value for field, value in inputs.items()
    }
    return {**node, "inputs": linked}


def _is_numbered(value: Any, prompt: Mapping[str, Any]) -> bool:
    """Tell a link like `[12, 0]` from a pair of numbers: its node is there, and the slot can be one."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(part, int) and not isinstance(part, bool) for part in value)
        and 0 <= value[1] < _SLOTS
        and str(value[0]) in prompt
    )
