"""ComfyUI's API-format prompt: how to walk it, and whether it is one.

A prompt maps node ids to `{"class_type": str, "inputs": {field: literal or link}, "_meta": {"title": str}}`; a link is
`[source node id, output slot]`. Ids are decimal numbers, or paths of them such as `"9:3"` for nodes inside a subgraph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from .problems import GraphProblem, PromptError

MAX_NODES = 10_000
"""Most nodes a prompt may have (docs/api/workflows.md, "Creating a workflow")."""

WIDGETS_META = "runflow_widgets"
"""Key in a node's `_meta`: field → value of its widget, of fields that are linked to a Runflow Input node."""

Prompt = Mapping[str, Mapping[str, Any]]
"""A prompt as it is read; nothing in this package changes one that it was given."""

_EXPORT = (
    "In ComfyUI use Workflow > Export (API) and send that file "
    "(older versions: turn on the dev mode options in Settings, then Save (API Format))."
)


def is_link(value: object) -> bool:
    """Whether ComfyUI takes `value` for a link: a list of a node id and a slot number."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return isinstance(value[0], str) and isinstance(value[1], (int, float)) and not isinstance(value[1], bool)


def links(prompt: Prompt) -> Iterator[tuple[str, str, str]]:
    """Every link of the prompt as (source node id, consumer node id, consumer field)."""
    for node_id, node in prompt.items():
        for field, value in node["inputs"].items():
            if is_link(value):
                yield value[0], node_id, field


def consumers(prompt: Prompt) -> dict[str, list[tuple[str, str]]]:
    """For each node with a link leaving it, the (consumer node id, consumer field) pairs at the other end."""
    found: dict[str, list[tuple[str, str]]] = {}
    for source, node_id, field in links(prompt):
        found.setdefault(source, []).append((node_id, field))
    return found


def node_order(node_id: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key of node ids: numeric ones first and by number, subgraph paths part by part, then the rest by text."""
    parts: list[tuple[int, int, str]] = []
    for part in node_id.split(":"):
        if part.isascii() and part.isdigit():
            digits = part.lstrip("0")
            # Length before text compares numbers of any size without int(), which refuses very long ones.
            parts.append((0, len(digits), digits))
        else:
            parts.append((1, 0, part))
    return tuple(parts), node_id


def node_title(node: Mapping[str, Any]) -> str | None:
    """The title a person gave the node, where the prompt carries one."""
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return title if isinstance(title, str) and title.strip() else None


def widget_values(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the widgets of linked fields hold in the editor, where the prompt's sender told: the node's own defaults."""
    meta = node.get("_meta")
    values = meta.get(WIDGETS_META) if isinstance(meta, Mapping) else None
    if not isinstance(values, Mapping):
        return {}
    return {field: value for field, value in values.items() if isinstance(value, (str, int, float))}


def describe_node(prompt: Prompt, node_id: str) -> str:
    """The node in words, for messages: `node 5 "Prompt" (RunflowInputString)`."""
    node = prompt.get(node_id)
    if node is None:
        return f"node {node_id}"
    title = node_title(node)
    class_type = node.get("class_type")
    named = f' "{title}"' if title and title != class_type else ""
    return f"node {node_id}{named} ({class_type})"


def node_problem(prompt: Prompt, node_id: str, message: str, next_step: str) -> GraphProblem:
    """A problem at one node, with its class and title filled in."""
    node = prompt.get(node_id)
    if node is None:
        return GraphProblem(message, next_step, node_id=node_id)
    class_type = node.get("class_type")
    return GraphProblem(
        message,
        next_step,
        node_id=node_id,
        class_type=class_type if isinstance(class_type, str) else None,
        title=node_title(node),
    )


def copy_json(value: Any) -> Any:
    """An independent copy of a JSON value, several times faster than `copy.deepcopy`."""
    if isinstance(value, Mapping):
        return {key: copy_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) for item in value]
    return value


def check_prompt(prompt: object) -> Prompt:
    """Make sure that `prompt` is a well-formed API-format prompt, and return it.

    Checked: the format itself, at most `MAX_NODES` nodes, each node's class and inputs, each link's form and target,
    and that no node depends on itself. Whether the node classes exist is known to the engine alone.

    Raises:
        PromptError: with one problem for each fault, naming the node.
    """
    if isinstance(prompt, str) and prompt.lstrip()[:1] == "{":
        raise PromptError([GraphProblem("The workflow is a JSON object as text.", "Send the object itself.")])
    if not isinstance(prompt, Mapping):
        raise PromptError([GraphProblem(f"The workflow is {_json_kind(prompt)}, not a JSON object.", _EXPORT)])
    wrong_format = _format_problem(prompt)
    if wrong_format is not None:
        raise PromptError([wrong_format])
    if len(prompt) > MAX_NODES:
        message = f"The workflow has {len(prompt)} nodes; at most {MAX_NODES} are allowed."
        raise PromptError([GraphProblem(message, "Split it into several workflows.")])
    problems = [problem for node_id, node in prompt.items() if (problem := _node_fault(node_id, node))]
    if problems:
        raise PromptError(problems)
    checked = cast("Prompt", prompt)
    problems = list(_link_faults(checked))
    if not problems:
        cycle = _find_cycle(checked)
        if cycle:
            path = " -> ".join(cycle)
            message = f"The nodes {path} depend on each other in a circle, so none of them can run."
            problems.append(node_problem(checked, cycle[0], message, "Remove one of these links."))
    if problems:
        raise PromptError(problems)
    return checked


def _json_kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, (list, tuple)):
        return "an array"
    return f"a {type(value).__name__}"


def _format_problem(prompt: Mapping[Any, Any]) -> GraphProblem | None:
    if not prompt:
        return GraphProblem("The workflow has no nodes.", _EXPORT)
    if isinstance(prompt.get("nodes"), list) and ("links" in prompt or "last_node_id" in prompt):
        return GraphProblem("This is a workflow in UI format (nodes and links); runs need the API format.", _EXPORT)
    inner = prompt.get("prompt")
    if isinstance(inner, Mapping) and "class_type" not in inner:
        return GraphProblem(
            'The workflow is wrapped in an object with the key "prompt".', 'Send the object under "prompt" itself.'
        )
    return None


def _node_fault(node_id: object, node: object) -> GraphProblem | None:
    if not isinstance(node_id, str) or not node_id:
        return GraphProblem(f"{node_id!r} is not a node id: ids are non-empty strings.", _EXPORT)
    if not isinstance(node, Mapping):
        message = f'The entry "{node_id[:100]}" is {_json_kind(node)}, not a node with class_type and inputs.'
        return GraphProblem(message, _EXPORT, node_id=node_id)
    class_type = node.get("class_type")
    title = node_title(node)
    if not isinstance(class_type, str) or not class_type:
        return GraphProblem(f"Node {node_id[:100]} has no class_type.", _EXPORT, node_id=node_id, title=title)
    inputs = node.get("inputs")
    if not isinstance(inputs, Mapping) or not all(isinstance(field, str) for field in inputs):
        return GraphProblem(
            f"Node {node_id[:100]} ({class_type}) has no inputs object.",
            'Each node needs "inputs"; an empty object is fine.',
            node_id=node_id,
            class_type=class_type,
            title=title,
        )
    return None


def _link_faults(prompt: Prompt) -> Iterator[GraphProblem]:
    for node_id, node in prompt.items():
        for field, value in node["inputs"].items():
            if is_link(value):
                source, slot = value
                if source not in prompt:
                    yield node_problem(
                        prompt,
                        node_id,
                        f'Input "{field}" of {describe_node(prompt, node_id)} is linked to node {source[:100]}, '
                        "which is not in the workflow.",
                        "Add that node or remove the link, then export again.",
                    )
                elif not isinstance(slot, int) or slot < 0:
                    yield _bad_slot(prompt, node_id, field, slot)
            elif isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in prompt:
                yield _bad_slot(prompt, node_id, field, value[1])


def _bad_slot(prompt: Prompt, node_id: str, field: str, slot: object) -> GraphProblem:
    return node_problem(
        prompt,
        node_id,
        f'Input "{field}" of {describe_node(prompt, node_id)} has a link with {slot!r:.60} as its output slot.',
        "A link is [node id, output number]; numbers start at 0.",
    )


def _find_cycle(prompt: Prompt) -> list[str] | None:
    sources: dict[str, list[str]] = {node_id: [] for node_id in prompt}
    for source, node_id, _ in links(prompt):
        sources[node_id].append(source)
    finished: set[str] = set()
    for start in prompt:
        if start in finished:
            continue
        # Depth first with our own stack: a chain of 10,000 nodes is deeper than Python's recursion limit.
        path: dict[str, Iterator[str]] = {start: iter(sources[start])}
        while path:
            current = next(reversed(path))
            source = next(path[current], "")
            if not source:
                finished.add(current)
                del path[current]
            elif source in path:
                trail = list(path)
                circle = trail[trail.index(source) :]
                return [*reversed(circle), circle[-1]]
            elif source not in finished:
                path[source] = iter(sources[source])
    return None


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
