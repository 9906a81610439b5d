"""Models that libraries downloaded into their own caches, where ComfyUI's model folders do not show them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_REVISION = re.compile(r"[0-9a-f]{40}")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.[A-Za-z0-9]+$")


def cached_models(environment: Mapping[str, str] = os.environ) -> dict[str, list[dict[str, Any]]]:
    """What the caches of Hugging Face and of torch hub hold, with revisions. Files that are missing are no error."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub_home = Path(environment.get("HF_HOME") or cache / "huggingface")
    hub = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE") or hub_home / "hub"
    torch = Path(environment.get("TORCH_HOME") or cache / "torch") / "hub"
    return {"huggingface": _huggingface(Path(hub)), "pytorch": _torch(torch)}


def _huggingface(hub: Path) -> list[dict[str, Any]]:
    found = []
    for folder in _entries(hub):
        kind, _, repository = folder.name.partition("--")
        if kind in _KINDS and repository and folder.is_dir():
            revision = _revision(folder)
            if revision is not None:
                found.append({"repo": repository.replace("--", "/"), "type": _KINDS[kind], "revision": revision})
    return found


def _revision(folder: Path) -> str | None:
    """The commit that `main` stands for, else the snapshot that was fetched last."""
    try:
        main = (folder / "refs/main").read_text(encoding="utf-8").strip()
    except OSError:
        main = ""
    snapshots = [entry for entry in _entries(folder / "snapshots") if _REVISION.fullmatch(entry.name)]
    if any(snapshot.name == main for snapshot in snapshots):
        return main
    return max(snapshots, key=lambda snapshot: snapshot.stat().st_mtime).name if snapshots else None


def _torch(hub: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for file in _entries(hub / "checkpoints"):
        if file.is_file() and not file.name.endswith(".partial"):
            part = _HASH_IN_NAME.search(file.name)
            entry = {"name": file.name, "type": "checkpoint", "size_bytes": file.stat().st_size}
            found.append({**entry, "revision": part.group(1) if part else None})
    for folder in _entries(hub):
        owner, _, rest = folder.name.partition("_")
        repository, _, revision = rest.rpartition("_")
        if folder.is_dir() and owner and repository:
            found.append({"name": f"{owner}/{repository}", "type": "repository", "revision": revision})
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
