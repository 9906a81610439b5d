"""The models of a plan: which are missing, and for each where it would come from and where it would go."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..manifest.model_sources import same_kind
from ..manifest.node_catalogue import NodeCatalogue
from . import declared
from .download import KEPT_FREE_BYTES, existing_part, inspect_file
from .fetch import Fetcher, FetchFailed
from .lines import ModelLine
from .safe_paths import NO_MODELS, PathRefused, inside, is_pickle, model_parts
from .sources import SourceRefused, shown

_AT_ONCE = 8
_SECONDS = 25
_SECONDS_FOR_ALL = 90
_PICKLE = "This format can run code when it is loaded. Allow it only from somebody whom you trust."
_NO_HASH = "No SHA-256 is known, so nobody can tell whether the file is the one that the author used."


async def plan_models(graph: Mapping[str, Any], machine: NodeCatalogue, fetcher: Fetcher) -> list[ModelLine]:
    """A line for each model that the workflow declares or names and that is not here."""
    lines = [line for model in declared.models(graph) if (line := _line(model, machine, fetcher)) is not None]
    limit = asyncio.Semaphore(_AT_ONCE)
    until = asyncio.get_running_loop().time() + _SECONDS_FOR_ALL
    lines = list(await asyncio.gather(*(_ask(line, fetcher, limit, until) for line in lines)))
    known = {PurePosixPath(line.name).name for line in lines}
    for name in declared.named_files(graph):
        if PurePosixPath(name.replace("\\", "/")).name not in known and not _is_here(name, machine):
            reason = "the workflow does not say where this file comes from. Ask its author, or put it there by hand."
            lines.append(ModelLine(_id("file", name), "", name, refused=reason))
    return [_with_space(line) for line in lines]


def _line(model: declared.DeclaredModel, machine: NodeCatalogue, fetcher: Fetcher) -> ModelLine | None:
    name = "/".join(str(part)[:200] for part in (model.directory, model.name) if part)
    line = ModelLine(_id("model", name), str(model.directory)[:60], name, shown(model.url), notes=model.notes)
    try:
        kind, relative = model_parts(model.directory, model.name)
        kind = _kind(kind, machine)
        if machine.model_path(kind, str(relative)) is not None:
            return None
        pickle = is_pickle(relative.name)
        line = replace(line, kind=kind, relative=relative, folder=_folder(kind, machine), pickle=pickle)
        if not model.url:
            raise PathRefused("the workflow does not say where this file comes from. Put it there by hand.")
        url = fetcher.sources.check(_direct(model.url)).url
        inside(line.folder, relative)
    except (PathRefused, SourceRefused) as refused:
        return replace(line, refused=str(refused))
    notes = [*line.notes, *([_PICKLE] if pickle else []), *([] if model.sha256 else [_NO_HASH])]
    return replace(line, url=url, sha256=model.sha256, size_bytes=model.size_bytes, notes=tuple(notes))


async def _ask(line: ModelLine, fetcher: Fetcher, limit: asyncio.Semaphore, until: float) -> ModelLine:
    """The line with the size that its host tells; what the host refuses is refused here."""
    if line.refused is not None:
        return line
    async with limit:
        try:
            seconds = min(_SECONDS, max(0, until - asyncio.get_running_loop().time()))
            size = await asyncio.wait_for(inspect_file(line.url, fetcher), seconds)
        except SourceRefused as refused:
            return replace(line, refused=str(refused))
        except FetchFailed as failed:
            return replace(line, refused=str(failed))
        except asyncio.TimeoutError:
            return replace(line, refused=f"{urlsplit(line.url).hostname} takes too long to answer.")
    if size is not None and line.size_bytes is not None and size != line.size_bytes:
        reason = f"the file there has {size:,} bytes, but the author's has {line.size_bytes:,}."
        return replace(line, refused=reason)
    notes = line.notes
    part = existing_part(line)
    if part:
        notes = (*notes, f"{part / 1e6:,.0f} MB of it are here already; the download goes on from there.")
    return replace(line, size_bytes=size if size is not None else line.size_bytes, part_bytes=part, notes=notes)


def _with_space(line: ModelLine) -> ModelLine:
    """The line with the room that its disk has; refused where it alone is too large for that."""
    if line.refused is not None:
        return line
    folder = existing(line.folder)
    free = max(0, shutil.disk_usage(folder).free - KEPT_FREE_BYTES)
    line = replace(line, disk=folder.stat().st_dev, free_bytes=free)
    if line.missing_bytes <= free:
        return line
    reason = f"it needs {line.missing_bytes / 1e9:.1f} GB, and the disk has room for {free / 1e9:.1f} GB."
    return replace(line, refused=reason)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _kind(name: str, machine: NodeCatalogue) -> str:
    kinds = [kind for kind in machine.model_kinds() if kind not in NO_MODELS]
    if name in kinds:
        return name
    for kind in kinds:
        if same_kind(name, kind):
            return kind
    raise PathRefused(f'"{name[:60]}" is no model folder of this ComfyUI.')


def _folder(kind: str, machine: NodeCatalogue) -> Path:
    """Where files of a kind go: the folder of that name where there are several."""
    folders = machine.model_folders(kind)
    return next((folder for folder in folders if folder.name == kind), folders[0])


def _is_here(name: str, machine: NodeCatalogue) -> bool:
    return any(machine.model_path(kind, name) for kind in machine.model_kinds() if kind not in NO_MODELS)


def _direct(url: Any) -> Any:
    """Hugging Face's page of a file has the file itself at `resolve`."""
    if isinstance(url, str) and url.startswith("https://huggingface.co/"):
        return url.replace("/blob/", "/resolve/", 1)
    return url


def _id(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind}|{name}".encode("utf-8", "replace")).hexdigest()[:16]
