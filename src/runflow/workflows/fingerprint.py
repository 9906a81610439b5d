"""The runtime fingerprint: which installed ComfyUI a version needs, as one short stable text.

Two versions with one fingerprint can run in one runtime, so a worker that holds it warm is preferred (docs/leases.md,
"Choosing"). It covers what has to be *installed*: the commit of ComfyUI, the commit of every custom node, and the
Python packages. Models, resources and the prompt are not part of it, and neither is what only describes the author's
checkout (`dirty`, `hoisted_from`, cached models) or depends on its order.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import orjson

PREFIX = "rt1-"
"""Names this rule. A changed rule gets another prefix, so that old and new fingerprints never meet."""

_SEPARATORS = re.compile(r"[-_.]+")


def fingerprint(environment: Any, custom_nodes: Any) -> str:
    """Return the fingerprint of a manifest, e.g. `rt1-9f86d081884c7d659a2feaa0c55ad015`.

    Both parts may be missing, objects or arrays, as callers send them; shapes that are not known count as they are.
    """
    environment = environment if isinstance(environment, Mapping) else {}
    parts = {
        "comfyui": _source(environment.get("comfyui")),
        "packages": sorted(filter(None, map(_package, _rows(environment.get("packages"))))),
        "custom_nodes": sorted(_canonical([name, _source(node)]) for name, node in _named(custom_nodes)),
    }
    return PREFIX + hashlib.sha256(_canonical(parts).encode()).hexdigest()[:32]


def _source(value: Any) -> Any:
    """Return where code comes from: origin without decoration, and commit (or version, where that is all there is)."""
    if not isinstance(value, Mapping):
        return value
    origin = value.get("origin") or value.get("url") or value.get("repo")
    if isinstance(origin, str):
        origin = origin.strip().rstrip("/").removesuffix(".git")
    return [origin, value.get("commit") or value.get("version")]


def _package(value: Any) -> str:
    """Return `name==version` with the name as PEP 503 normalises it."""
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return f"{_SEPARATORS.sub('-', value['name']).lower()}=={value.get('version')}"
    return value if isinstance(value, str) else _canonical(value)


def _rows(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [{"name": name, "version": version} for name, version in value.items()]
    return value if isinstance(value, list) else [] if value is None else [value]


def _named(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    found = []
    for row in value if isinstance(value, list) else []:
        name = (row.get("name") or row.get("directory")) if isinstance(row, Mapping) else None
        found.append((name, row))
    return found


def _canonical(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
