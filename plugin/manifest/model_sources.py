"""Where a workflow says that its models come from: its nodes' properties, the graph's own list, an earlier manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..graph import graph_nodes
from .checkout import without_credentials

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ALIASES = (
    {"diffusion_models", "unet", "unet_gguf"},
    {"text_encoders", "clip", "clip_gguf"},
    {"controlnet", "t2i_adapter"},
)


@dataclass(frozen=True)
class ModelSource:
    """One declared model: file name, folder below models/ (may be empty), address, and hash where one is given."""

    name: str
    directory: str
    url: str
    sha256: str | None


def model_sources(graph: Mapping[str, Any]) -> list[ModelSource]:
    """Every declaration in a UI-format graph, subgraphs included, credentials removed from the addresses."""
    return [source for row in _rows(graph) if (source := _source(row)) is not None]


def same_kind(one: str, other: str) -> bool:
    """Whether two names mean one model folder, as `unet` and `diffusion_models` do."""
    return one == other or any(one in group and other in group for group in _ALIASES)


def _rows(graph: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for node in graph_nodes(graph):
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            yield from _mappings(properties.get("models"))
    yield from _mappings(graph.get("models"))
    extra = graph.get("extra")
    manifest = extra.get("runflow") if isinstance(extra, Mapping) else None
    models = manifest.get("models") if isinstance(manifest, Mapping) else None
    if isinstance(models, Mapping):
        for path, row in models.items():
            if isinstance(row, Mapping):
                directory, _, name = str(path).rpartition("/")
                yield {"name": name, "directory": directory, "url": row.get("url"), "hash": row.get("sha256")}


def _source(row: Mapping[str, Any]) -> ModelSource | None:
    name, url, directory = row.get("name"), row.get("url"), row.get("directory")
    if not isinstance(name, str) or not name or not isinstance(url, str):
        return None
    address = without_credentials(url)
    if address is None:
        return None
    digest = str(row.get("hash") or "").lower()
    given = digest if _SHA256.fullmatch(digest) and row.get("hash_type", "SHA256") in ("SHA256", "sha256") else None
    return ModelSource(name.replace("\\", "/"), directory if isinstance(directory, str) else "", address, given)


def _mappings(rows: Any) -> list[Mapping[str, Any]]:
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
