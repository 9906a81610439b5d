"""What a manifest says of the caches of Hugging Face and torch hub: the files that can be restored, and the rest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from runflow.models.service import address, is_sha256
from runflow.protocol.cached_files import (
    MOST_CACHED_FILES,
    MOST_REFS,
    REPOSITORY_TYPES,
    Cache,
    LeasedCachedFile,
    fault_of,
    is_ref,
)

_CACHES: Mapping[str, Cache] = {"huggingface": "huggingface", "pytorch": "torch"}
"""The lists of `environment.cached_models`, and whose cache each is."""
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class CachedModels:
    """What a version takes from caches: each file that can be restored, once, and the names of what cannot."""

    files: tuple[LeasedCachedFile, ...] = ()
    without_files: tuple[str, ...] = ()
    """Entries that name no file by its content, or one that cannot be used."""
    repositories: tuple[str, ...] = ()
    """Repositories of torch hub, which are code."""


def cached_models(environment: Any) -> CachedModels:
    """Read `cached_models` of a manifest's environment. What cannot be understood is named as not to be restored."""
    told = environment.get("cached_models") if isinstance(environment, Mapping) else None
    files: dict[tuple[str, ...], LeasedCachedFile] = {}
    without_files: dict[str, None] = {}
    repositories: dict[str, None] = {}
    for name, cache in _CACHES.items():
        entries = told.get(name) if isinstance(told, Mapping) else None
        for entry in entries if isinstance(entries, list) else []:
            if cache == "torch" and isinstance(entry, Mapping) and entry.get("type") == "repository":
                repositories[_named(entry)] = None
                continue
            named = list(islice(_files(cache, entry), MOST_CACHED_FILES - len(files) + 1))
            usable = [file for file in named if file is not None and fault_of(file) is None]
            if not usable or len(usable) < len(named) or len(files) + len(usable) > MOST_CACHED_FILES:
                without_files[_named(entry)] = None
            for file in usable[: MOST_CACHED_FILES - len(files)]:
                place = (file.cache, file.repository_type, file.repository, file.revision, file.path)
                files.setdefault(place, file)
    return CachedModels(tuple(files.values()), tuple(without_files), tuple(repositories))


def has_address(file: LeasedCachedFile) -> bool:
    """Tell whether it is known where a file can be fetched: torch hub has no address that follows from a name."""
    return file.cache == "huggingface" or file.url is not None


def _files(cache: Cache, entry: Any) -> Iterator[LeasedCachedFile | None]:
    """Yield the files of an entry, None for one that is not known by its content."""
    if not isinstance(entry, Mapping):
        return
    if cache == "torch":
        yield _file(LeasedCachedFile(cache=cache, path="", sha256=""), entry)
        return
    kind = entry.get("type", "model")
    repository, revision, refs = entry.get("repo"), entry.get("revision"), entry.get("refs", ["main"])
    if kind not in REPOSITORY_TYPES or not isinstance(repository, str) or not isinstance(revision, str):
        return
    usable = [one for one in refs if isinstance(one, str) and is_ref(one)] if isinstance(refs, list) else []
    snapshot = LeasedCachedFile(
        cache=cache,
        path="",
        sha256="",
        repository=repository,
        repository_type=kind,
        revision=revision,
        refs=usable[:MOST_REFS],
    )
    rows = entry.get("files")
    for row in rows if isinstance(rows, list) else []:
        yield _file(snapshot, row)


def _file(snapshot: LeasedCachedFile, row: Any) -> LeasedCachedFile | None:
    if not isinstance(row, Mapping):
        return None
    path, sha256, size = row.get("path", row.get("name")), row.get("sha256"), row.get("size_bytes")
    if not isinstance(path, str) or not is_sha256(sha256):
        return None
    is_size = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    return replace(
        snapshot,
        path=path,
        sha256=sha256.lower(),
        size_bytes=size if is_size else None,
        url=address(row.get("url")),
    )


def _named(entry: Any) -> str:
    if isinstance(entry, Mapping):
        entry = next((entry[key] for key in ("repo", "name", "path") if entry.get(key)), "an entry without a name")
    return str(entry)[:_LONGEST_NAME]
