"""What a workflow file says that it needs: custom nodes of unknown classes, and models. Pure, nothing is judged.

In this order: the nodes' properties and the graph's list of models, subgraphs included; `cnr_id`, `aux_id` and `ver`
of the nodes; the manifest that Deploy wrote into `extra.runflow`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..graph.scrub import graph_nodes, graph_parts

CORE = "comfy-core"
"""The registry's name of ComfyUI itself."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REGISTRY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}/[A-Za-z0-9_.][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[0-9]+(\.[0-9A-Za-z+-]+){0,5}")
_MODEL = re.compile(r"[^\x00-\x1f]{1,300}\.(safetensors|sft|gguf|ckpt|pt|pth|bin|onnx)", re.IGNORECASE)
_MOST = 500


@dataclass(frozen=True)
class DeclaredPack:
    """A pack of custom nodes: how the workflow names it, and for which of its node classes."""

    classes: tuple[str, ...]
    registry_id: str | None = None
    repository: str | None = None
    commit: str | None = None
    version: str | None = None
    name: str | None = None
    dependencies: tuple[str, ...] | None = None
    dirty: bool = False
    by: str = "node"


@dataclass(frozen=True)
class DeclaredModel:
    """A model file: folder, name and address as the workflow gives them, of any type."""

    directory: Any
    name: Any
    url: Any
    sha256: str | None = None
    size_bytes: int | None = None
    notes: tuple[str, ...] = ()
    by: str = "node"


def unknown_classes(graph: Mapping[str, Any], is_known: Callable[[str], bool]) -> dict[str, Mapping[str, Any]]:
    """The node classes that are not known here, with the properties of the first node of each."""
    subgraphs = {part.get("id") for part in graph_parts(graph)}
    found: dict[str, Mapping[str, Any]] = {}
    for node in graph_nodes(graph):
        name = node.get("type")
        if isinstance(name, str) and name and name not in subgraphs and not is_known(name) and len(found) < _MOST:
            properties = node.get("properties")
            fresh = properties if isinstance(properties, Mapping) else {}
            if name not in found or not (found[name].get("cnr_id") or found[name].get("aux_id")):
                found[name] = fresh
    return found


def packs_of_nodes(classes: Mapping[str, Mapping[str, Any]]) -> list[DeclaredPack]:
    """The packs that nodes of these classes name, and one without any name for all the rest."""
    found: dict[str, DeclaredPack] = {}
    for name, properties in classes.items():
        pack = _of_node(properties)
        key = f"{pack.registry_id}|{pack.repository}"
        before = found.get(key)
        merged = pack if before is None else before
        found[key] = replace(merged, classes=(*merged.classes, name))
    return list(found.values())


def packs_of_manifest(graph: Mapping[str, Any]) -> list[DeclaredPack]:
    """The packs in `extra.runflow`, but for this plugin."""
    rows = _manifest(graph).get("custom_nodes")
    found = []
    for name, row in list(rows.items())[:_MOST] if isinstance(rows, Mapping) else ():
        if not isinstance(name, str) or not isinstance(row, Mapping) or row.get("plugin"):
            continue
        listed, classes = row.get("dependencies"), row.get("classes")
        found.append(
            DeclaredPack(
                tuple(each for each in classes if isinstance(each, str)) if isinstance(classes, list) else (),
                registry_id=_text(row.get("registry_id"), _REGISTRY_ID),
                repository=row["origin"] if isinstance(row.get("origin"), str) else None,
                commit=_text(row.get("commit"), _COMMIT),
                version=_text(row.get("version"), _VERSION),
                name=name,
                dependencies=tuple(text for text in listed if isinstance(text, str))
                if isinstance(listed, list)
                else None,
                dirty=row.get("dirty") is True,
                by="manifest",
            )
        )
    return found


def models(graph: Mapping[str, Any]) -> list[DeclaredModel]:
    """Every model that the workflow declares, one row for each place; the first declaration counts."""
    found: dict[tuple[str, str], DeclaredModel] = {}
    for model in _models(graph):
        key = (str(model.directory).casefold(), str(model.name).casefold())
        before = found.get(key)
        if before is None and len(found) < _MOST:
            found[key] = model
        elif before is not None and before.url == model.url:
            size = before.size_bytes if before.size_bytes is not None else model.size_bytes
            found[key] = replace(before, sha256=before.sha256 or model.sha256, size_bytes=size)
        elif before is not None:
            note = "The workflow names a second address for this file; the first one is taken."
            found[key] = replace(before, notes=tuple(dict.fromkeys((*before.notes, note))))
    return list(found.values())


def named_files(graph: Mapping[str, Any]) -> list[str]:
    """Texts in the nodes' widgets that look like names of model files."""
    found: dict[str, None] = {}
    for node in graph_nodes(graph):
        values = node.get("widgets_values")
        listed: Iterable[Any] = values.values() if isinstance(values, Mapping) else values or ()
        if isinstance(values, (Mapping, list)):
            for value in listed:
                if isinstance(value, str) and _MODEL.fullmatch(value) and "://" not in value and len(found) < _MOST:
                    found[value] = None
    return list(found)


def _of_node(properties: Mapping[str, Any]) -> DeclaredPack:
    repository = _text(properties.get("aux_id"), _REPOSITORY)
    version = properties.get("ver")
    return DeclaredPack(
        (),
        registry_id=_text(properties.get("cnr_id"), _REGISTRY_ID),
        repository=f"https://github.com/{repository}" if repository else None,
        commit=_text(version, _COMMIT),
        version=_text(version, _VERSION),
    )


def _models(graph: Mapping[str, Any]) -> Iterator[DeclaredModel]:
    for node in graph_nodes(graph):
        properties = node.get("properties")
        if isinstance(properties, Mapping):
            yield from map(_model, _mappings(properties.get("models")))
    for part in graph_parts(graph):
        yield from map(_model, _mappings(part.get("models")))
    rows = _manifest(graph).get("models")
    for path, row in rows.items() if isinstance(rows, Mapping) else ():
        if isinstance(path, str) and isinstance(row, Mapping):
            directory, _, name = path.partition("/")
            size = row.get("size_bytes")
            known = size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
            sha256 = _text(row.get("sha256"), _SHA256)
            yield DeclaredModel(directory, name, row.get("url"), sha256, known, by="manifest")


def _model(row: Mapping[str, Any]) -> DeclaredModel:
    directory, name, url = row.get("directory"), row.get("name"), row.get("url")
    given, kind = row.get("hash"), str(row.get("hash_type") or "SHA256").lower().replace("-", "")
    sha256 = _text(given.lower(), _SHA256) if isinstance(given, str) and kind == "sha256" else None
    notes = ("The workflow gives a hash, but no SHA-256, so it is not checked.",) if given and not sha256 else ()
    return DeclaredModel(directory, name, url, sha256, notes=notes)


def _manifest(graph: Mapping[str, Any]) -> Mapping[str, Any]:
    extra = graph.get("extra")
    manifest = extra.get("runflow") if isinstance(extra, Mapping) else None
    return manifest if isinstance(manifest, Mapping) else {}


def _mappings(rows: Any) -> list[Mapping[str, Any]]:
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _text(value: Any, form: re.Pattern[str]) -> str | None:
    return value if isinstance(value, str) and form.fullmatch(value) else None
