"""Runflow API keys that came with a workflow: taken out before anything of it is stored. Pure.

A Deploy node can hold a host and a key of its own, and editors other than ours save them with the graph, which every
reader of the organization sees. A key is found in Deploy nodes; in the widgets of subgraph nodes with a Deploy node
inside, to which a key can be promoted; and, by its form, at any other place of the graph.
"""

import re
from collections.abc import Iterator
from typing import Any

from runflow.graph import GraphWarning
from runflow.graph.runflow_nodes import DEPLOY_CLASS

API_KEY = re.compile(r"rf_[A-Za-z]{2,16}_[A-Za-z0-9]{16,}")
"""What is a key wherever it stands: `rf_live_` and 40 letters or digits is one."""
_KEY_LIKE = re.compile(r"\s*rf_[A-Za-z0-9_-]{6,}\s*")
"""What is one as the whole value of a widget where only a name, an address and a key are expected."""
_KEY_WIDGET = "api_key"
"""The widget of the Deploy node: whatever stands there is a key."""
_NAME_WIDGETS = ("endpoint_name", 0)
"""The widget of the Deploy node whose value begins as its author likes, by name and by place."""


def graph_without_keys(graph: Any) -> tuple[GraphWarning, ...]:
    """Take the keys out of a UI-format graph, in place; return a warning for each node that had one."""
    if not isinstance(graph, dict):
        return ()
    leading = _types_with_a_deploy_node(graph)
    return tuple(_warning(node_id) for node_id in dict.fromkeys(_blanked(graph, leading)))


def prompt_without_keys(prompt: Any) -> tuple[GraphWarning, ...]:
    """Take the keys out of the Deploy nodes of a prompt, likewise, and out of the nodes that feed only those.

    What other nodes are given is theirs to have.
    """
    if not isinstance(prompt, dict):
        return ()
    return tuple(
        _warning(str(node_id))
        for node_id in _ending_in_deploy_nodes(prompt)
        if [*_blanked({"nodes": [prompt[node_id]]}, {DEPLOY_CLASS})]
    )


def _ending_in_deploy_nodes(prompt: dict[str, Any]) -> list[str]:
    """Return the Deploy nodes of a prompt, and the nodes whose every value goes to one of those."""
    taken_by: dict[str, set[str]] = {}
    for node_id, node in prompt.items():
        for source in _sources(node):
            taken_by.setdefault(source, set()).add(node_id)
    found = {id_ for id_, node in prompt.items() if isinstance(node, dict) and node.get("class_type") == DEPLOY_CLASS}
    waiting = list(found)
    while waiting:
        for source in _sources(prompt[waiting.pop()]):
            if source not in found and isinstance(prompt.get(source), dict) and taken_by[source] <= found:
                found.add(source)
                waiting.append(source)
    return [node_id for node_id in prompt if node_id in found]


def _sources(node: Any) -> Iterator[str]:
    """Go through the nodes that a node's inputs come from; in texts that tools send their ids may be numbers."""
    inputs = node.get("inputs") if isinstance(node, dict) else None
    for value in inputs.values() if isinstance(inputs, dict) else ():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)):
            yield str(value[0])


def _types_with_a_deploy_node(graph: Any) -> set[str]:
    """Return the node types whose widgets may lead to a key: Deploy nodes, and subgraphs with one at any depth."""
    inside: dict[str, set[str]] = {}
    for part in _objects(graph):
        nodes, subgraph = part.get("nodes"), part.get("id")
        if isinstance(nodes, list) and isinstance(subgraph, str):
            kinds = (node.get("type") for node in nodes if isinstance(node, dict))
            inside.setdefault(subgraph, set()).update(kind for kind in kinds if isinstance(kind, str))
    leading: set[str] = {DEPLOY_CLASS}
    while more := {subgraph for subgraph, kinds in inside.items() if kinds & leading} - leading:
        leading |= more
    return leading


def _blanked(document: Any, leading: set[str]) -> Iterator[str | None]:
    """Take keys out, and yield the id of the node that had one each time; None where it was in no node.

    Without recursion: a document is as deep as its sender likes.
    """
    waiting: list[tuple[Any, Any, Any, str | None]] = [(document, None, None, None)]
    while waiting:
        holder, place, kind, node_id = waiting.pop()
        if place == "nodes" and isinstance(holder, dict):
            kind, node_id = _kind(holder), str(holder.get("id"))
        for at, value in list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder)):
            clean = value
            if isinstance(value, (dict, list)):
                waiting.append((value, at if isinstance(at, str) else place, kind, node_id))
            elif isinstance(value, str):
                clean = _clean(value, at, kind, leading)
            name = API_KEY.sub("", at) if isinstance(at, str) else at
            if clean != value or name != at:
                if name != at:
                    del holder[at]
                holder[name] = clean
                yield node_id


def _kind(node: dict[str, Any]) -> str | None:
    kind = node.get("type", node.get("class_type"))
    return kind if isinstance(kind, str) else None


def _clean(value: str, at: Any, kind: str | None, leading: set[str]) -> str:
    if kind in leading:
        is_name = kind == DEPLOY_CLASS and at in _NAME_WIDGETS
        if at == _KEY_WIDGET or (not is_name and _KEY_LIKE.fullmatch(value)):
            return ""
    return API_KEY.sub("", value)


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _warning(node_id: str | None) -> GraphWarning:
    return GraphWarning(
        node_id,
        "A Runflow API key was part of what was sent. It was taken out and is not stored, but it has left your editor.",
        "Revoke this key (DELETE /v1/api-keys/{id}) and make a new one. Keep it in Settings > Runflow, not in a node.",
    )
