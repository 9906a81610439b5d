"""A folder of its own for everything that one run writes."""

from __future__ import annotations

import re
from typing import Any

from .problems import GraphProblem
from .prompt import describe_node, is_link, node_problem
from .runflow_nodes import OUTPUT_SUBFOLDER_FIELD, SAVING_CLASSES, VALUE_FIELD

PREFIX_FIELD = "filename_prefix"
"""The input by which ComfyUI's saving nodes, and most custom ones, choose folder and name."""

NAME_WITHOUT_PREFIX = "output"
"""Start of the file names of a node whose `filename_prefix` is empty."""


def direct_outputs(bound: dict[str, dict[str, Any]], folder: str) -> list[GraphProblem]:
    """Make every saving node of `bound` write below `folder`, changing `bound`; returns what could not be directed.

    A literal `filename_prefix` gets the folder in front. One that is linked to a Runflow Input (String) is replaced by
    that node's text with the folder in front, so that no caller can write into the folder of another run; other linked
    prefixes are left as they are.
    """
    folder = folder.rstrip("/\\")
    problems: list[GraphProblem] = []
    for node_id, node in bound.items():
        inputs = node["inputs"]
        ours = node["class_type"] in SAVING_CLASSES
        if ours:
            inputs[OUTPUT_SUBFOLDER_FIELD] = folder
        prefix = _prefix(bound, inputs.get(PREFIX_FIELD))
        if prefix is None:
            continue
        parts = [part for part in re.split(r"[/\\]", prefix) if part not in ("", ".")]
        if ".." in parts:
            message = f'The {PREFIX_FIELD} of {describe_node(bound, node_id)} leaves the folder of the run with "..".'
            problems.append(node_problem(bound, node_id, message, "Use a prefix without '..'."))
            continue
        if ours:
            continue
        # Without a name of its own ComfyUI would take the last folder for the start of the file name.
        inputs[PREFIX_FIELD] = "/".join([folder, *(parts or [NAME_WITHOUT_PREFIX])])
    return problems


def _prefix(bound: dict[str, dict[str, Any]], value: object) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and is_link(value):
        source = bound.get(value[0])
        if source is not None and source["class_type"] == "RunflowInputString":
            text = source["inputs"].get(VALUE_FIELD)
            return text if isinstance(text, str) else None
    return None
