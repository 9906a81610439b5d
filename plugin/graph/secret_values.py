"""Where the values are in a UI-format graph that lead to `host` or `api_key` of a Runflow Deploy node.

A widget of a node in a subgraph can be promoted: then the node of the subgraph shows it, and its value is saved there.
ComfyUI's page writes a promoted widget as an input of the subgraph with a link to the node; older pages as a pair
`[node id, widget name]` in the property `proxyWidgets`. A link may also come from a node that holds the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .runflow_nodes import DEPLOY_CLASS

SECRET_WIDGETS = frozenset({"host", "api_key"})
"""The fields of the Deploy node that are for one session of one person."""

_INPUTS_OF_SUBGRAPH = "-10"
"""The id of the node from which the links of a subgraph's own inputs come."""

Part = dict[str, Any]
"""The graph itself, or a subgraph's definition."""


def empty_secrets(parts: list[Part]) -> dict[int, set[Any]]:
    """Empty every value that leads to a secret field, in place. Returns the ids of the links that end at such a field,
    by the `id()` of their part.

    A value of a node that does not say which of its values it is (`widgets_values` of unknown length) takes the node's
    other texts along.
    """
    search = _Search(parts)
    ends: dict[int, set[Any]] = {}
    for part in parts:
        for node in rows(part, "nodes"):
            if node.get("type") != DEPLOY_CLASS:
                continue
            for slot in rows(node, "inputs"):
                link = slot.get("link")
                if _widget_of(slot) in SECRET_WIDGETS and isinstance(link, (int, str)):
                    ends.setdefault(id(part), set()).add(link)
                    search.add(part, link)
    search.run()
    search.empty_proxies()
    return ends


def rows(holder: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """The objects in a list of a graph; whatever else is there is left out."""
    found = holder.get(field)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


class _Search:
    """Goes from links to the nodes that hold their values. Graphs come from anybody: no recursion, nothing twice."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts
        self._by_id = {str(part["id"]): part for part in parts if "id" in part}
        self._links = {id(part): {str(link[0]): link for link in _links(part)} for part in parts}
        self._nodes = {id(part): {str(node.get("id")): node for node in rows(part, "nodes")} for part in parts}
        self._left: list[tuple[Part, Any]] = []
        self._seen: set[tuple[int, str, str]] = set()
        self._exposed: set[tuple[int, str, str]] = set()
        """Part, node and widget name of what a subgraph's node shows of a secret."""

    def add(self, part: Part, link_id: Any) -> None:
        """Note a link whose value is a secret."""
        if link_id is not None:
            self._left.append((part, link_id))

    def run(self) -> None:
        """Empty what the noted links lead to, and the links behind those."""
        while self._left:
            part, link_id = self._left.pop()
            link = self._links[id(part)].get(str(link_id))
            if link is None or not self._first(part, "link", link_id):
                continue
            _, origin, slot = link
            if str(origin) == _INPUTS_OF_SUBGRAPH:
                self._expose(part, slot)
            elif (node := self._nodes[id(part)].get(str(origin))) is not None:
                self._empty_source(part, node, slot)

    def empty_proxies(self) -> None:
        """Empty and remove what older pages promoted, from the innermost subgraph outwards."""
        found = True
        while found:
            found = False
            for part in self._parts:
                for node in rows(part, "nodes"):
                    inner = self._by_id.get(str(node.get("type")))
                    if inner is not None and self._empty_proxies_of(part, node, inner):
                        found = True

    def _first(self, part: Part, kind: str, name: Any) -> bool:
        place = (id(part), kind, str(name))
        new = place not in self._seen
        self._seen.add(place)
        return new

    def _expose(self, definition: Part, index: Any) -> None:
        inputs = rows(definition, "inputs")
        if not isinstance(index, int) or not 0 <= index < len(inputs):
            return
        name = inputs[index].get("name")
        for part in self._parts:
            for node in rows(part, "nodes"):
                if str(node.get("type")) != str(definition.get("id")):
                    continue
                slots = rows(node, "inputs")
                shown = [slot for slot in slots if isinstance(slot.get("widget"), dict)]
                for slot in slots:
                    if slot.get("name") != name:
                        continue
                    _empty(node, [_widget_of(each) for each in shown], _widget_of(slot))
                    self._exposed.add((id(part), str(node.get("id")), str(name)))
                    self.add(part, slot.get("link"))

    def _empty_source(self, part: Part, node: dict[str, Any], slot: Any) -> None:
        inner = self._by_id.get(str(node.get("type")))
        if inner is not None:
            outputs = rows(inner, "outputs")
            ends = outputs[slot].get("linkIds") if isinstance(slot, int) and 0 <= slot < len(outputs) else None
            for link_id in ends if isinstance(ends, list) else ():
                self.add(inner, link_id)
        elif self._first(part, "node", node.get("id")):
            _empty(node, [], None)
            for source in rows(node, "inputs"):
                self.add(part, source.get("link"))

    def _empty_proxies_of(self, part: Part, node: dict[str, Any], inner: Part) -> bool:
        properties = node.get("properties")
        proxies = properties.get("proxyWidgets") if isinstance(properties, dict) else None
        if not isinstance(properties, dict) or not isinstance(proxies, list):
            return False
        names = [str(pair[1]) if isinstance(pair, list) and len(pair) > 1 else "" for pair in proxies]
        secret = [self._is_secret(inner, pair) for pair in proxies]
        for name, is_secret in zip(names, secret, strict=True):
            if is_secret:
                _empty(node, names, name)
                self._exposed.add((id(part), str(node.get("id")), name))
        properties["proxyWidgets"] = [pair for pair, each in zip(proxies, secret, strict=True) if not each]
        return any(secret)

    def _is_secret(self, inner: Part, pair: Any) -> bool:
        if not isinstance(pair, list) or len(pair) < 2:
            return False
        node_id, name = str(pair[0]), str(pair[1])
        node = self._nodes[id(inner)].get(node_id)
        if node is not None and node.get("type") == DEPLOY_CLASS:
            return name in SECRET_WIDGETS
        return any((id(inner), node_id, each) in self._exposed for each in (name, name.rpartition(": ")[2]))


def _empty(node: dict[str, Any], names: list[str], name: str | None) -> None:
    """Empty the value of one widget of a node; without a name, or where its place is unknown, every text of it."""
    values = node.get("widgets_values")
    if isinstance(values, list):
        known = name in names and len(values) == len(names)
        node["widgets_values"] = [
            "" if isinstance(value, str) and (not known or names[place] == name) else value
            for place, value in enumerate(values)
        ]
    for field in ("widgets_values", "widgets_values_named"):
        if isinstance(node.get(field), dict):
            node[field] = {
                key: "" if isinstance(value, str) and name in (None, key) else value
                for key, value in node[field].items()
            }
    for slot in rows(node, "inputs"):
        if name in (None, _widget_of(slot)):
            slot.pop("value", None)


def _widget_of(slot: Mapping[str, Any]) -> str:
    widget = slot.get("widget")
    return str(widget.get("name") if isinstance(widget, dict) else slot.get("name"))


def _links(part: Part) -> Iterator[tuple[Any, Any, Any]]:
    """Id, origin and the origin's slot of each link: a list in a graph, an object in a subgraph's definition."""
    links = part.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, list) and len(link) > 2:
            yield link[0], link[1], link[2]
        elif isinstance(link, dict):
            yield link.get("id"), link.get("origin_id"), link.get("origin_slot")
