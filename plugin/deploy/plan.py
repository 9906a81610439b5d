"""What a deployment would send: everything that can be known without asking the server. Blocks: runs in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..answers import Refused
from ..graph import (
    GraphError,
    Interface,
    SlugError,
    check_prompt,
    describe_node,
    executed_nodes,
    find_warnings,
    read_interface,
    scrub_graph,
    scrub_prompt,
    slugify,
    without_text,
)
from ..manifest import custom_nodes, environment
from ..manifest.cached_models import CachedModels, CacheUses, cached_models, never_ran
from ..manifest.hashes import Hashes
from ..manifest.model_sources import model_sources
from ..manifest.models import find_models, model_entry, with_forward_slashes
from ..manifest.node_catalogue import NodeCatalogue
from ..manifest.resources import InputFile, find_resources
from .endpoint import describe_interface
from .model_upload import LocalModel

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how much of how many bytes; 0 of 0 where there is nothing to count."""

_NAMED = 5
_ADD_OUTPUT = "Add the nodes that make a result and a Runflow Output node behind it, then deploy again."
_SHOWN = ("origin", "commit", "dirty", "version", "registry_id", "plugin")
MANIFEST = 1
"""The form of what Deploy writes into a graph's `extra.runflow`."""


@dataclass(frozen=True)
class Machine:
    """The ComfyUI to read the manifest from."""

    root: Path
    input_folder: Path
    catalogue: NodeCatalogue
    hashes: Hashes
    caches: CacheUses


@dataclass(frozen=True)
class Plan:
    """A deployment that is ready: the body without its resources, the files to upload with their hashes, and what a
    person should know before.
    """

    name: str
    slug: str
    body: dict[str, Any]
    files: tuple[tuple[InputFile, str], ...]
    local_models: tuple[LocalModel, ...] = ()
    """The models that nobody but this machine is known to have."""
    warnings: tuple[str, ...] = field(default=())
    interface: Interface = field(default_factory=lambda: Interface((), ()))
    cached: tuple[dict[str, Any], ...] = ()
    """What it takes from caches of libraries, for the summary."""

    def summary(self) -> dict[str, Any]:
        """What goes out, for the person who has to agree."""
        models: Mapping[str, Any] = self.body["models"]
        nodes: Mapping[str, Any] = self.body["custom_nodes"]
        return {
            "name": self.name,
            "slug": self.slug,
            **describe_interface(self.interface),
            "files": [{"path": file.path, "size_bytes": file.size_bytes} for file, _ in self.files],
            "models": [
                {"path": path, "size_bytes": entry.get("size_bytes"), "url": entry.get("url")}
                for path, entry in models.items()
            ],
            "custom_nodes": [
                {"name": name, **{key: entry.get(key) for key in _SHOWN}} for name, entry in nodes.items()
            ],
            "comfyui": self.body["environment"]["comfyui"],
            "packages": len(self.body["environment"]["packages"]),
            "cached_models": list(self.cached),
            "warnings": list(self.warnings),
        }


def make_plan(
    name: str,
    prompt: Any,
    graph: Any,
    secrets: Iterable[str],
    machine: Machine,
    progress: Progress,
    cancelled: threading.Event,
) -> Plan:
    """Scrub the workflow and read its manifest from this machine. `secrets` are texts that must not leave with it.

    Raises:
        Refused: the name gives no slug, or the workflow cannot be deployed; says what to change.
        Cancelled: `cancelled` was set meanwhile.
    """
    slug = _slug(name)
    if not isinstance(prompt, Mapping) or not isinstance(graph, Mapping):
        raise Refused("The page sent no workflow. Reload it and deploy again.", code="WORKFLOW_INVALID")
    if not prompt:
        raise Refused(f"deploy failed — the workflow is empty. {_ADD_OUTPUT}", code="WORKFLOW_INVALID")
    try:
        scrubbed = scrub_prompt(check_prompt(prompt))
        interface = read_interface(scrubbed)
        warnings = [str(warning) for warning in find_warnings(scrubbed, interface)]
    except GraphError as error:
        raise Refused(f"deploy failed — {error}", code="WORKFLOW_INVALID") from None
    catalogue = machine.catalogue
    _refuse_missing(scrubbed, catalogue)
    executed = executed_nodes(scrubbed, catalogue.is_output)
    if not executed:
        cause = "no node of this workflow saves or shows anything, so ComfyUI would run none of it"
        raise Refused(f"deploy failed — {cause}. {_ADD_OUTPUT}", code="WORKFLOW_INVALID")
    progress("Looking for input files", 0, 0)
    files, about_files = find_resources(scrubbed, executed, machine.input_folder, catalogue)
    hashed = tuple(
        (file, _hash(file.place, machine.hashes, partial(progress, f"Hashing {file.path}"), cancelled))
        for file in files
    )
    models, local, about_models = _models(scrubbed, executed, graph, machine, progress, cancelled)
    classes = {str(scrubbed[node]["class_type"]) for node in executed}
    cached, about_caches = _cached(classes, graph, machine, progress, cancelled)
    progress("Reading custom nodes and packages", 0, 0)
    found_here = {
        "comfyui": environment.comfyui(machine.root),
        "packages": environment.packages(),
        "cached_models": cached.entries,
        **environment.machine(),
    }
    used = custom_nodes.folders_used(
        scrubbed, {node["class_type"]: catalogue.module(node["class_type"]) for node in scrubbed.values()}
    )
    nodes = custom_nodes.custom_nodes(used, catalogue.custom_nodes)
    manifest = {"version": MANIFEST, "comfyui": found_here["comfyui"], "custom_nodes": nodes, "models": models}
    sent_graph = scrub_graph(graph)
    extra = sent_graph.get("extra")
    sent_graph["extra"] = {**(extra if isinstance(extra, dict) else {}), "runflow": manifest}
    body = {
        "name": name.strip(),
        "workflow_json": with_forward_slashes(scrubbed, [*models, *(file.path for file in files)]),
        "graph": sent_graph,
        "environment": found_here,
        "custom_nodes": nodes,
        "models": models,
    }
    for secret in secrets:
        body = without_text(body, secret)
    told = (*warnings, *about_files, *about_models, *about_caches)  # two nodes can have one and the same fault
    local += tuple(LocalModel(file.name, file.place, file.size_bytes, file.sha256) for file in cached.without_address)
    return Plan(
        name.strip(), slug, body, hashed, local, tuple(dict.fromkeys(told)), interface, cached=tuple(cached.summary())
    )


def _slug(name: str) -> str:
    try:
        return slugify(name)
    except SlugError as error:
        raise Refused(f"endpoint_name must be URL-safe. {error}", code="INVALID_NAME") from None


def _refuse_missing(prompt: Mapping[str, Any], catalogue: NodeCatalogue) -> None:
    """ComfyUI refuses the whole prompt for one unknown class, and the editor knows no names for its fields."""
    missing = [node_id for node_id, node in prompt.items() if not catalogue.has(node["class_type"])]
    if missing:
        named = ", ".join(describe_node(prompt, node_id) for node_id in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise Refused(
            f"deploy failed — this ComfyUI lacks the custom nodes of {named}{more}. Install them with Auto setup, "
            "restart ComfyUI and deploy again; or mute or remove these nodes.",
            code="NODE_TYPE_MISSING",
        )


def _models(
    prompt: Mapping[str, Any],
    executed: set[str],
    graph: Mapping[str, Any],
    machine: Machine,
    progress: Progress,
    cancelled: threading.Event,
) -> tuple[dict[str, Any], tuple[LocalModel, ...], list[str]]:
    sources = model_sources(graph)
    found = find_models(prompt, executed, machine.catalogue)
    entries: dict[str, Any] = {}
    local: list[LocalModel] = []
    warnings: list[str] = []
    for number, file in enumerate(found, 1):
        told = partial(progress, f"Hashing {file.place.name} ({number} of {len(found)})")
        sha256 = _hash(file.place, machine.hashes, told, cancelled)
        size = file.place.stat().st_size
        entries[file.path], warning = model_entry(file, sha256, size, sources)
        warnings += [warning] if warning else []
        if "url" not in entries[file.path]:
            local.append(LocalModel(file.path, file.place, size, sha256))
    return entries, tuple(local), warnings


def _cached(
    classes: set[str],
    graph: Mapping[str, Any],
    machine: Machine,
    progress: Progress,
    cancelled: threading.Event,
) -> tuple[CachedModels, list[str]]:
    def hashed(place: Path) -> str:
        return machine.hashes.sha256(place, partial(progress, f"Hashing {place.name} of a library's cache"), cancelled)

    uses = machine.caches
    found = cached_models(
        uses.folders, uses.of(classes), hashed, sources=model_sources(graph), addresses=uses.addresses
    )
    unknown = never_ran(classes, uses, machine.catalogue)
    warnings = list(found.warnings)
    if unknown:
        named = ", ".join(unknown[:_NAMED]) + (f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else "")
        warnings.append(
            "What these custom nodes load from the caches of Hugging Face and torch hub is not known, because none of "
            f"them has run since this ComfyUI was started: {named}. Run the workflow once, then deploy again, so that "
            "workers get those files before a run."
        )
    return found, warnings


def _hash(place: Path, hashes: Hashes, progress: Callable[[int, int], None], cancelled: threading.Event) -> str:
    try:
        return hashes.sha256(place, progress, cancelled)
    except OSError as error:
        message = f"deploy failed — the file {place} cannot be read: {error.strerror or error}."
        raise Refused(message, code="FILE_UNREADABLE") from None
