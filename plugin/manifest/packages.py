"""The Python packages of this ComfyUI's environment."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, distributions
from typing import Any

from .checkout import public_origin


def packages() -> list[dict[str, Any]]:
    """Every installed package as name and version, by name; one that came from a repository also with its commit."""
    found: dict[str, dict[str, Any]] = {}
    for distribution in distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if name and version:
            # The first on the path is the one that gets imported.
            found.setdefault(name.lower(), {"name": name, "version": version, **_source(distribution)})
    return [found[name] for name in sorted(found)]


def _source(distribution: Distribution) -> dict[str, Any]:
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        commit = origin["vcs_info"]["commit_id"]
        url = public_origin(str(origin["url"]))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {"origin": url, "commit": commit} if url else {}
