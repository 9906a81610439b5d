"""The model files that a prompt loads: found by the names in its fields, wherever ComfyUI keeps them.

Names that a Windows author chose are put in the form that every other system understands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .model_sources import ModelSource, same_kind
from .node_catalogue import NodeCatalogue, choices, is_prose

_EMBEDDING = re.compile(r"embedding:([^\s,:()\[\]]+)")
_EMBEDDING_ENDINGS = ("", ".safetensors", ".pt", ".bin")
_NO_MODELS = ("custom_nodes", "datasets")
_TINY_VAE = ("_encoder", "_decoder")
_MAX_NAME = 500


@dataclass(frozen=True)
class ModelFile:
    """A model file: its path below models/ as the manifest names it, its kind, and where it lies here."""

    path: str
    kind: str
    place: Path


def find_models(prompt: Mapping[str, Any], executed: Iterable[str], catalogue: NodeCatalogue) -> list[ModelFile]:
    """The model files that the executed nodes of a prompt load, by path.

    A name that lies in several kinds of folders is taken from the one that the field offers; where the field does not
    tell, from each.
    """
    found: dict[str, ModelFile] = {}
    for node_id in executed:
        node = prompt[node_id]
        class_type = str(node.get("class_type"))
        for field, value in node.get("inputs", {}).items():
            if not isinstance(value, str) or not value:
                continue
            declaration = catalogue.field(class_type, field)
            for file in _in_field(value, declaration, catalogue):
                found.setdefault(file.path, file)
    return [found[path] for path in sorted(found)]


def model_entry(
    file: ModelFile, sha256: str | None, size: int, sources: Iterable[ModelSource]
) -> tuple[dict[str, Any], str | None]:
    """The manifest's entry of a file, and a warning where what the workflow declares is another file."""
    entry: dict[str, Any] = {"directory": file.kind, "size_bytes": size}
    if sha256 is not None:
        entry["sha256"] = sha256
    declared = [source for source in sources if _is_meant(source, file)]
    fitting = [source for source in declared if source.sha256 in (None, sha256)]
    if fitting:
        entry["url"] = fitting[0].url
        return entry, None
    if declared:
        return (
            entry,
            f'The workflow declares another file under the name "{file.path}": its SHA-256 is not this one\'s.',
        )
    return entry, None


def _is_meant(source: ModelSource, file: ModelFile) -> bool:
    if source.name.rpartition("/")[2] != file.path.rpartition("/")[2]:
        return False
    top = source.directory.partition("/")[0]
    return not top or same_kind(top, file.kind) or same_kind(top, file.path.partition("/")[0])


def _in_field(value: str, declaration: Any, catalogue: NodeCatalogue) -> Iterator[ModelFile]:
    if is_prose(declaration) or "embedding:" in value:
        for name in _EMBEDDING.findall(value):
            candidates = (name + ending for ending in _EMBEDDING_ENDINGS)
            yield from next(filter(None, (list(_files("embeddings", each, catalogue)) for each in candidates)), [])
        return
    if len(value) > _MAX_NAME or "\n" in value:
        return
    offered = choices(declaration)
    kinds = [kind for kind in catalogue.model_kinds() if kind not in _NO_MODELS]
    holding = [kind for kind in kinds if catalogue.model_path(kind, value) is not None]
    if not holding and value in offered:
        # The tiny VAEs are offered by one name for two files.
        for part in _TINY_VAE:
            for name in catalogue.model_names("vae_approx") if "vae_approx" in kinds else ():
                if name.partition(".")[0] == value + part:
                    yield from _files("vae_approx", name, catalogue)
        return
    if len(holding) > 1 and offered:
        holding = _best(holding, offered, catalogue)
    for kind in holding:
        yield from _files(kind, value, catalogue)


def _best(kinds: list[str], offered: list[Any], catalogue: NodeCatalogue) -> list[str]:
    """The kinds whose files a field offers most of."""
    shared = {kind: len(set(offered) & set(catalogue.model_names(kind))) for kind in kinds}
    # Of equals the smaller folder: an alias of another tool may hold more than what this field offers.
    best = max(kinds, key=lambda kind: (shared[kind], -len(catalogue.model_names(kind))))
    return [best] if shared[best] else kinds


def _files(kind: str, name: str, catalogue: NodeCatalogue) -> Iterator[ModelFile]:
    place = catalogue.model_path(kind, name)
    if place is None:
        return
    place = Path(os.path.abspath(place))  # noqa: PTH100 (links stay: their place here is their name there)
    files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
    for file in files:
        try:
            relative = file.relative_to(os.path.abspath(catalogue.models_root)).as_posix()  # noqa: PTH100
        except ValueError:
            inner = file.relative_to(place).as_posix() if file != place else ""
            relative = "/".join(filter(None, (kind, name.replace("\\", "/"), inner)))
        yield ModelFile(relative, kind, file)


def with_forward_slashes(prompt: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """A prompt whose fields name the files of the manifest by forward slashes; every other text stays as it is.

    On Windows ComfyUI offers `SDXL\\base.safetensors`, which names no file anywhere else. `paths` are those of models,
    below models/, and of input files.
    """
    return {node_id: {**node, "inputs": _inputs(node["inputs"], paths)} for node_id, node in prompt.items()}


def _inputs(inputs: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    return {field: _name(value, paths) if isinstance(value, str) else value for field, value in inputs.items()}


def _name(value: str, paths: Collection[str]) -> str:
    if "\\" not in value:
        return value
    name = value.replace("\\", "/")
    # A field names a model without its folder below models/.
    return name if any(path == name or path.endswith(f"/{name}") for path in paths) else value
