"""Taking out of a workflow what belongs to one person's editor: local test wiring, hosts and keys. Always on a copy.

The wire into `value` of a Runflow Input node is how its author tries the workflow; callers send that value instead. A
literal there is the input's default and stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .prompt import Prompt, copy_json, is_link
from .runflow_nodes import DEPLOY_CLASS, INPUT_CLASSES, VALUE_FIELD
from .secret_values import empty_secrets, rows

_SAVED_WIDGETS = 1
"""Of the Deploy node's widgets only the first, `endpoint_name`, may leave the editor."""
_ID = (int, str)


def scrub_prompt(prompt: Prompt) -> dict[str, Any]:
    """A copy of an API-format prompt without the wires into input nodes, and without Deploy nodes."""
    scrubbed: dict[str, Any] = {}
    for node_id, node in prompt.items():
        if node.get("class_type") == DEPLOY_CLASS:
            continue
        node = scrubbed[node_id] = copy_json(node)
        inputs = node.get("inputs")
        if node.get("class_type") in INPUT_CLASSES and isinstance(inputs, dict) and is_link(inputs.get(VALUE_FIELD)):
            del inputs[VALUE_FIELD]
    return scrubbed


def scrub_graph(graph: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a UI-format graph, subgraph definitions included, without the wires into input nodes, without links
    that lead nowhere, and without the host and the key of Deploy nodes, wherever their values are.
    """
    scrubbed: dict[str, Any] = copy_json(graph)
    parts = list(graph_parts(scrubbed))
    secrets = empty_secrets(parts)
    for part in parts:
        _scrub_part(part, secrets.get(id(part), set()))
    return scrubbed


def graph_parts(graph: Mapping[str, Any]) -> Iterator[Any]:
    """The graph itself and each of its subgraph definitions."""
    yield graph
    definitions = graph.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    yield from (part for part in subgraphs or () if isinstance(part, Mapping))


def graph_nodes(graph: Mapping[str, Any]) -> Iterator[Any]:
    """Every node of a UI-format graph, those of subgraph definitions included."""
    for part in graph_parts(graph):
        yield from rows(part, "nodes")


def without_text(value: Any, secret: str) -> Any:
    """A copy of a JSON value in which a text occurs nowhere, not even as a part of a key."""
    if isinstance(value, str):
        return value.replace(secret, "")
    if isinstance(value, Mapping):
        return {str(key).replace(secret, ""): without_text(item, secret) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_text(item, secret) for item in value]
    return value


def _scrub_part(part: dict[str, Any], secrets: set[Any]) -> None:
    local = set(secrets)
    for node in rows(part, "nodes"):
        if node.get("type") == DEPLOY_CLASS:
            _forget_host_and_key(node)
        elif node.get("type") in INPUT_CLASSES:
            local |= {
                slot["link"]
                for slot in rows(node, "inputs")
                if slot.get("name") == VALUE_FIELD and isinstance(slot.get("link"), _ID)
            }
    links = part.get("links")
    if not isinstance(links, list):
        return
    kept = [link for link in links if _link_id(link) not in local]
    part["links"] = kept
    there = {_link_id(link) for link in kept}
    _keep_links(part, lambda link: isinstance(link, _ID) and link in there)


def _keep_links(part: dict[str, Any], stays: Callable[[Any], bool]) -> None:
    """Take every mention of a link that does not stay out of sockets, subgraph sockets and reroutes."""
    for node in rows(part, "nodes"):
        for slot in rows(node, "inputs"):
            if slot.get("link") is not None and not stays(slot["link"]):
                slot["link"] = None
        for slot in rows(node, "outputs"):
            if isinstance(slot.get("links"), list):
                slot["links"] = [link for link in slot["links"] if stays(link)]
    for holder in (part, part.get("extra")):
        if not isinstance(holder, dict):
            continue
        for row in [*rows(holder, "inputs"), *rows(holder, "outputs"), *rows(holder, "reroutes")]:
            if isinstance(row.get("linkIds"), list):
                row["linkIds"] = [link for link in row["linkIds"] if stays(link)]
        if isinstance(holder.get("linkExtensions"), list):
            holder["linkExtensions"] = [row for row in rows(holder, "linkExtensions") if stays(row.get("id"))]


def _forget_host_and_key(node: dict[str, Any]) -> None:
    values = node.get("widgets_values")
    if isinstance(values, list):
        node["widgets_values"] = values[:_SAVED_WIDGETS]
    for field in ("widgets_values", "widgets_values_named"):
        if isinstance(node.get(field), dict):
            node[field] = {name: value for name, value in node[field].items() if name == "endpoint_name"}
    for slot in rows(node, "inputs"):
        slot.pop("value", None)


def _link_id(link: Any) -> Any:
    """The id of a link: `[id, …]` in a graph, `{"id": …}` in a subgraph definition; None where it has none."""
    found = link[0] if isinstance(link, list) and link else link.get("id") if isinstance(link, Mapping) else None
    return found if isinstance(found, _ID) else None
