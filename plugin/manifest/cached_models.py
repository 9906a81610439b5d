"""Models that libraries keep in caches of their own, where ComfyUI's model folders do not show them.

Only what the workflow uses is told: the caches hold whatever anybody of this machine has ever fetched.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from ..graph import GraphError, check_prompt, executed_nodes
from .model_sources import ModelSource
from .node_catalogue import NodeCatalogue

MOST_FILES = 2_000
"""The server restores no more of one version."""
_MOST_REFS = 16
_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_REVISION = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp$")
"""How the hub's library calls a branch while it writes it down."""
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.[A-Za-z0-9]+$")
_CHECKPOINTS = "checkpoints"
_OURS = "Runflow"
_MOST_PROMPTS = 200

HashOf = Callable[[Path], str]
"""Returns a file's SHA-256; raises OSError where it cannot be read."""


@dataclass(frozen=True)
class CacheFolders:
    """Where Hugging Face's library keeps repositories, and where torch hub keeps checkpoints and repositories."""

    hub: Path
    torch: Path

    @property
    def are_empty(self) -> bool:
        """Whether nothing is in them that a node could load."""
        held = any(_repository(folder.name) is not None for folder in _entries(self.hub))
        return not held and not _entries(self.torch / _CHECKPOINTS) and not any(map(_is_code, _entries(self.torch)))


@dataclass(frozen=True)
class Use:
    """A part of a cache that was opened: `folder` below it, and what was opened there.

    In a repository of Hugging Face `part` is `snapshots/COMMIT`, `refs/NAME`, or empty where only its blobs were; of
    torch hub `folder` is `checkpoints` with a file's name as the part, or a repository's folder.
    """

    cache: str
    folder: str
    part: str = ""


@dataclass(frozen=True)
class CachedFile:
    """A file of a cache: what the manifest calls it, where it is here, and its content."""

    name: str
    place: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class CachedModels:
    """What a workflow uses of the caches, as the manifest tells it, and what has no address of its own."""

    entries: dict[str, list[dict[str, Any]]]
    without_address: tuple[CachedFile, ...] = ()
    warnings: tuple[str, ...] = ()

    def summary(self) -> list[dict[str, Any]]:
        """What goes out of them, for the person who has to agree."""
        found = []
        for entry in self.entries["huggingface"]:
            sizes = [file["size_bytes"] for file in entry["files"]]
            found.append({"name": entry["repo"], "files": len(sizes), "size_bytes": sum(sizes)})
        torch = self.entries["pytorch"]
        return [*found, *({"name": one["name"], "files": 1, "size_bytes": one.get("size_bytes")} for one in torch)]


def cache_folders(environment: Mapping[str, str] = os.environ) -> CacheFolders:
    """The caches that the libraries use in this environment."""
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    hub_home = Path(environment.get("HF_HOME") or cache / "huggingface")
    hub = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE") or hub_home / "hub"
    torch = Path(environment.get("TORCH_HOME") or cache / "torch") / "hub"
    return CacheFolders(Path(hub), torch)


class CacheUses(Protocol):
    """What is known of the nodes that have executed in this ComfyUI."""

    folders: CacheFolders
    """The caches."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where files were fetched, by their names."""

    def of(self, classes: Collection[str]) -> set[Use]:
        """The parts of the caches that nodes of these classes have opened."""

    def succeeded(self) -> Iterable[Mapping[str, Any]]:
        """The prompts that have ended well, the newest first."""


def never_ran(wanted: Collection[str], uses: CacheUses, catalogue: NodeCatalogue) -> list[str]:
    """Those of these classes of custom nodes of which nobody knows what they load, since none of them has executed.

    Where the caches are empty there is nothing that they could load.
    """
    left = {one for one in wanted if catalogue.module(one).startswith("custom_nodes") and not one.startswith(_OURS)}
    if not left or uses.folders.are_empty:
        return []
    for prompt in islice(uses.succeeded(), _MOST_PROMPTS):
        with contextlib.suppress(GraphError):
            checked = check_prompt(prompt)
            left -= {checked[node]["class_type"] for node in executed_nodes(checked, catalogue.is_output)}
        if not left:
            break
    return sorted(left)


def use_of(path: str, folders: Collection[tuple[str, str]]) -> Use | None:
    """What the opening of a file says of a cache; None where it lies in none. `folders`: each cache with its path."""
    for cache, folder in folders:
        if path.startswith(folder):
            parts = path[len(folder) :].replace("\\", "/").strip("/").split("/")
            return _hub_use(parts) if cache == "huggingface" else _torch_use(parts)
    return None


def _hub_use(parts: list[str]) -> Use | None:
    if parts[0] == ".locks":
        parts = parts[1:2]
    if not parts or _repository(parts[0]) is None:
        return None
    if len(parts) > 2 and parts[1] == "snapshots":
        return Use("huggingface", parts[0], f"snapshots/{parts[2]}")
    if len(parts) > 2 and parts[1] == "refs":
        return Use("huggingface", parts[0], _TEMPORARY.sub("", "/".join(parts[1:])))
    return Use("huggingface", parts[0])


def _torch_use(parts: list[str]) -> Use | None:
    if len(parts) < 2:
        return None
    return Use("torch", _CHECKPOINTS, parts[1]) if parts[0] == _CHECKPOINTS else Use("torch", parts[0])


def cached_models(
    folders: CacheFolders,
    uses: Iterable[Use],
    hash_of: HashOf,
    *,
    sources: Iterable[ModelSource] = (),
    addresses: Mapping[str, str] | None = None,
) -> CachedModels:
    """The manifest's entries for what is used, with each file's size and SHA-256. What is missing is no error.

    `addresses`: where checkpoints came from, by name. A snapshot is told whole: libraries in other languages open its
    files unseen, and the cache has only those of its files that somebody wanted.
    """
    reading = _Reading(hash_of, list(sources), addresses or {})
    wanted = sorted(set(uses), key=lambda use: (use.cache, use.folder, use.part))
    repositories: dict[str, list[str]] = {}
    for use in wanted:
        if use.cache == "huggingface":
            repositories.setdefault(use.folder, []).append(use.part)
    hub = [entry for name, parts in repositories.items() for entry in reading.repository(folders.hub / name, parts)]
    torch = [
        entry for use in wanted if use.cache == "torch" and (entry := reading.torch(folders.torch, use)) is not None
    ]
    return CachedModels({"huggingface": hub, "pytorch": torch}, tuple(reading.local), tuple(reading.warnings))


class _Reading:
    """Reads files of caches, up to the most that can be told."""

    def __init__(self, hash_of: HashOf, sources: list[ModelSource], addresses: Mapping[str, str]) -> None:
        self.local: list[CachedFile] = []
        self.warnings: list[str] = []
        self._hash_of = hash_of
        self._sources = sources
        self._addresses = addresses
        self._left = MOST_FILES

    def repository(self, folder: Path, parts: list[str]) -> Iterator[dict[str, Any]]:
        kind, repository = _repository(folder.name) or ("", "")
        refs = _refs(folder)
        for revision in _revisions(folder, parts, refs):
            files = []
            snapshot = folder / "snapshots" / revision
            for place in sorted(path for path in snapshot.rglob("*") if path.is_file()):
                file = self._file(place, place.relative_to(snapshot).as_posix(), f"{repository}/")
                files += [] if file is None else [_row(file)]
            standing = [name for name, commit in refs.items() if commit == revision]
            if files:
                named = {"repo": repository, "type": kind, "revision": revision}
                yield {**named, "refs": standing[:_MOST_REFS], "files": files}

    def torch(self, hub: Path, use: Use) -> dict[str, Any] | None:
        if use.folder != _CHECKPOINTS:
            return self._code(hub / use.folder)
        place = hub / _CHECKPOINTS / use.part
        if not place.is_file() or place.name.endswith(".partial"):
            return None
        part = _HASH_IN_NAME.search(place.name)
        entry: dict[str, Any] = {"name": place.name, "type": "checkpoint", "revision": part.group(1) if part else None}
        file = self._file(place, place.name, "torch/hub/checkpoints/")
        if file is None:
            return entry
        entry = {**entry, "size_bytes": file.size_bytes, "sha256": file.sha256}
        url = self._url(file)
        if url is not None:
            return {**entry, "url": url}
        self.local.append(CachedFile(f"torch/hub/checkpoints/{file.name}", place, file.size_bytes, file.sha256))
        return entry

    def _code(self, folder: Path) -> dict[str, Any] | None:
        if not _is_code(folder):
            return None
        owner, _, rest = folder.name.partition("_")
        repository, _, revision = rest.rpartition("_")
        return {"name": f"{owner}/{repository}", "type": "repository", "revision": revision, "folder": folder.name}

    def _url(self, file: CachedFile) -> str | None:
        declared = [source for source in self._sources if source.name.rpartition("/")[2] == file.name]
        fitting = [source.url for source in declared if source.sha256 in (None, file.sha256)]
        return next(iter(fitting), self._addresses.get(file.name))

    def _file(self, place: Path, name: str, above: str) -> CachedFile | None:
        if self._left == 0:
            if not any("so many" in warning for warning in self.warnings):
                self.warnings.append(
                    f"The workflow uses more than {MOST_FILES} files of the caches of libraries, and no worker "
                    "restores so many. Load a part of them in another workflow."
                )
            return None
        self._left -= 1
        try:
            return CachedFile(name, place, place.stat().st_size, _content(place) or self._hash_of(place))
        except OSError as error:
            self.warnings.append(
                f'The cached file "{above}{name}" cannot be read ({error.strerror or error}), so no worker restores '
                "it. Make it readable and deploy again."
            )
            return None


def _row(file: CachedFile) -> dict[str, Any]:
    return {"path": file.name, "size_bytes": file.size_bytes, "sha256": file.sha256}


def _content(place: Path) -> str | None:
    """The SHA-256 of a large file of the hub: its blob is named by that."""
    blob = place.resolve()
    return blob.name if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name) else None


def _repository(folder: str) -> tuple[str, str] | None:
    """Kind and name of the repository that a folder of the hub's cache is of."""
    kind, _, name = folder.partition("--")
    return (_KINDS[kind], name.replace("--", "/")) if kind in _KINDS and name else None


def _is_code(folder: Path) -> bool:
    owner, _, rest = folder.name.partition("_")
    return bool(owner and rest.rpartition("_")[0]) and folder.is_dir()


def _refs(folder: Path) -> dict[str, str]:
    """The branches of a repository that the cache knows, each with its commit."""
    found = {}
    for place in sorted(path for path in (folder / "refs").rglob("*") if path.is_file()):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found[place.relative_to(folder / "refs").as_posix()] = place.read_text(encoding="utf-8").strip()
    return found


def _revisions(folder: Path, parts: list[str], refs: Mapping[str, str]) -> list[str]:
    """The snapshots that were used, oldest name first; what `main` stands for where nothing says which."""
    there = [entry.name for entry in _entries(folder / "snapshots") if _REVISION.fullmatch(entry.name)]
    named = {part.partition("/")[2] for part in parts if part.startswith("snapshots/")}
    named |= {refs.get(part.partition("/")[2], "") for part in parts if part.startswith("refs/")}
    return [name for name in there if name in named] or [name for name in there if name == refs.get("main")]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
