"""What an endpoint will be, for the person who makes it: inputs, outputs, version, and a request that calls it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from ..answers import for_page
from ..graph import GraphError, InputSpec, Interface, OutputSpec, example_value, used_default

_WAIT_SECONDS = 60
_ONE_LINE = 80


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


def curl(runs_url: str, interface: Interface) -> str:
    """A command that runs the endpoint and waits for its end; the key comes from the shell's $RUNFLOW_API_KEY."""
    values = {spec.name: example_value(spec) for spec in interface.inputs if _is_shown(spec)}
    body = json.dumps({"input": values}, ensure_ascii=False)
    if len(body) > _ONE_LINE:
        body = json.dumps({"input": values}, ensure_ascii=False, indent=2)
    return (
        f"curl {shlex.quote(f'{runs_url}?wait={_WAIT_SECONDS}')} \\\n"
        '  -H "Authorization: Bearer $RUNFLOW_API_KEY" -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(body)}"
    )


def _is_shown(spec: InputSpec) -> bool:
    """Whether to send it: not where leaving it out says something that no value says as well."""
    is_known = used_default(spec) is not None and not spec.variable_type_code.is_media
    return spec.is_required or is_known
