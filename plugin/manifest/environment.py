"""Which ComfyUI runs here, on what, and with which Python packages."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from .checkout import public_origin, read_checkout

_VERSION = re.compile(r"""__version__\s*=\s*["']([^"']+)["']""")
_OFFICIAL = "https://github.com/comfyanonymous/ComfyUI"


def comfyui(root: Path) -> dict[str, Any]:
    """Origin, commit, version and whether it was changed, of the ComfyUI whose source is in `root`.

    Without git, its release and what `runflow comfyui install` wrote down tell where it comes from.
    """
    checkout = read_checkout(root)
    found: dict[str, Any] = checkout.to_dict() if checkout else {"origin": None, "commit": None, "dirty": None}
    installed = _installed(root)
    version = _version(root) or installed.get("version")
    if not found["origin"]:
        given = installed.get("origin") if installed.get("source") == "git" else None
        found["origin"] = (public_origin(str(given)) if given else None) or (_OFFICIAL if version else None)
    found["commit"] = found["commit"] or installed.get("commit")
    return {**found, "version": version}


def machine() -> dict[str, str]:
    """The Python and the system that the author's ComfyUI runs on."""
    return {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}


def _version(root: Path) -> str | None:
    try:
        found = _VERSION.search((root / "comfyui_version.py").read_text(encoding="utf-8"))
    except OSError:
        return None
    return found.group(1) if found else None


def _installed(root: Path) -> dict[str, Any]:
    try:
        record = json.loads((root / "runflow-install.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


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
