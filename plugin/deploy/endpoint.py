"""What an endpoint will be, for the person who makes it: inputs, outputs, version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..answers import for_page
from ..graph import GraphError, InputSpec, Interface, OutputSpec, used_default


def describe_interface(interface: Interface) -> dict[str, Any]:
    """Inputs (name, type, required, the default that a run really uses, limits in words) and outputs (name, type)."""
    inputs = [
        {
            "name": spec.name,
            "type": spec.variable_type_code.value,
            "required": spec.is_required,
            "default": for_page(used_default(spec)),
            "limits": spec.limits.in_words(),
        }
        for spec in interface.inputs
    ]
    outputs = [{"name": spec.name, "type": spec.variable_type_code.value} for spec in interface.outputs]
    return {"inputs": inputs, "outputs": outputs}


def published_interface(saved: Mapping[str, Any], planned: Interface) -> Interface:
    """The interface in the server's record, which may hold inputs that a person added there; else the planned one."""
    inputs, outputs = saved.get("inputs"), saved.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list):
        return planned
    try:
        return Interface(tuple(map(InputSpec.from_dict, inputs)), tuple(map(OutputSpec.from_dict, outputs)))
    except (GraphError, AttributeError, TypeError):
        return planned


def next_version(existing: Mapping[str, Any] | None) -> str:
    """Which version of which workflow this would be, such as "version 3 of default/portrait"; empty: a new workflow."""
    if existing is None:
        return ""
    path, version = existing.get("path") or existing.get("slug"), str(existing.get("version") or "")
    return f"version {int(version) + 1} of {path}" if version.isdecimal() else f"a new version of {path}"
