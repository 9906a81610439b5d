"""The packs of a plan: which node classes are unknown here, and for each pack where it would come from."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..manifest.checkout import read_origin
from ..manifest.node_catalogue import NodeCatalogue
from . import declared, git
from .commands import CommandFailed
from .declared import DeclaredPack
from .fetch import Fetcher, FetchFailed
from .lines import PackLine
from .packages import Requirements, read_requirements
from .registry import look_up
from .repository import archive_url, find_repository, pinned_addresses
from .safe_paths import PathRefused, pack_name
from .sources import SourceRefused, shown

_AT_ONCE = 6
_SECONDS = 40
_SECONDS_FOR_ALL = 90
_UNSURE = "The workflow does not say which of its packs brings which nodes; its manifest names this one."
_DIRTY = "The author's copy had changes that are in no repository; the original is installed."
_NEWEST = "This is the newest commit, looked up now."
_ARCHIVE = "There is no git of version 2.37 or newer here, so it is downloaded as an archive and not kept under git."


async def plan_packs(
    graph: Mapping[str, Any],
    page_knows: Collection[str],
    machine: NodeCatalogue,
    fetcher: Fetcher,
    registry: str | None,
) -> list[PackLine]:
    """A line for each pack that the workflow needs and this machine lacks.

    `page_knows` are classes that exist in the page alone.
    """
    known = frozenset(page_knows)
    classes = declared.unknown_classes(graph, lambda name: name in known or machine.has(name))
    if not classes:
        return []
    installed = await asyncio.to_thread(_installed, machine.custom_nodes)
    wanted = _with_manifest(declared.packs_of_nodes(classes), declared.packs_of_manifest(graph), installed)
    with_git = await asyncio.to_thread(git.usable)
    limit = asyncio.Semaphore(_AT_ONCE)
    loop = asyncio.get_running_loop()
    until = loop.time() + _SECONDS_FOR_ALL

    async def plan(pack: DeclaredPack) -> PackLine:
        async with limit:
            seconds = min(_SECONDS, max(0, until - loop.time()))
            try:
                return await asyncio.wait_for(_line(pack, machine, fetcher, registry, installed, with_git), seconds)
            except asyncio.TimeoutError:
                return replace(_blank(pack), refused="its host takes too long to answer.")

    lines = await asyncio.gather(*(plan(pack) for pack in wanted))
    return _once(line for line in lines if line is not None)


def _with_manifest(
    packs: list[DeclaredPack], manifest: list[DeclaredPack], installed: Collection[str]
) -> list[DeclaredPack]:
    """What the nodes name, completed by the manifest; where nodes are left over, what else it names and is not here."""
    found: list[DeclaredPack] = []
    unsolved: list[DeclaredPack] = []
    left = list(manifest)
    for pack in packs:
        match = next((row for row in left if _is_same(pack, row)), None)
        if match is not None:
            left.remove(match)
            pack = replace(
                pack,
                name=match.name,
                repository=pack.repository or match.repository,
                commit=pack.commit or match.commit,
                dependencies=match.dependencies,
                dirty=match.dirty,
            )
        nameless = pack.registry_id is None and pack.repository is None
        (unsolved if nameless else found).append(pack)
    classes = dict.fromkeys(name for pack in unsolved for name in pack.classes)
    for row in left:
        brought = tuple(name for name in row.classes if name in classes)
        if brought or (classes and not row.classes and not _there(row, installed)):
            found.append(replace(row, classes=brought))
            for name in brought:
                del classes[name]
    unsure = [pack for pack in found if not pack.classes]
    if len(unsure) == 1 and classes:
        found[found.index(unsure[0])] = replace(unsure[0], classes=tuple(classes))
    elif classes and not unsure:
        found.append(DeclaredPack(tuple(classes)))
    return found


def _there(pack: DeclaredPack, installed: Collection[str]) -> bool:
    return any(name in installed for name in (_folded(pack.name or ""), _spelling(pack.repository or "")))


def _is_same(pack: DeclaredPack, row: DeclaredPack) -> bool:
    if pack.repository and row.repository:
        return _spelling(pack.repository) == _spelling(row.repository)
    if pack.registry_id is None:
        return False
    names = (row.registry_id, row.name, (row.repository or "").rstrip("/").rpartition("/")[2].removesuffix(".git"))
    return _folded(pack.registry_id) in {_folded(name) for name in names if name}


async def _line(
    pack: DeclaredPack,
    machine: NodeCatalogue,
    fetcher: Fetcher,
    registry: str | None,
    installed: dict[str, str],
    with_git: bool,
) -> PackLine:
    line = _blank(pack)
    try:
        if pack.registry_id == declared.CORE:
            version = f" {pack.version}" if pack.version else ""
            raise PathRefused(f"these nodes are part of ComfyUI{version}, not of a pack. Update ComfyUI.")
        archive = None
        if pack.registry_id and registry and pack.commit is None:
            pack, archive = await _registered(pack, pack.registry_id, fetcher, registry)
        elif pack.registry_id and registry and pack.repository is None:
            pack = replace(pack, repository=(await look_up(fetcher, registry, pack.registry_id, None)).repository)
        if pack.repository is None and archive is None:
            raise PathRefused(_no_source(pack, registry))
        fetcher.sources.check(archive or pack.repository)
        name = pack_name(pack.registry_id if archive and pack.registry_id else urlsplit(pack.repository or "").path)
        line = replace(line, name=name, folder=machine.custom_nodes[0], url=archive or pack.repository or "")
        _refuse_installed(pack, name, installed)
        if archive:
            url = fetcher.sources.check(archive).url
            line = replace(line, version=pack.version, expected=_expected(pack), notes=_notes(pack))
            return replace(line, url=url, method="archive", archive=url)
        return await _from_repository(replace(pack, name=name), line, fetcher, with_git)
    except (PathRefused, SourceRefused, FetchFailed, CommandFailed) as refused:
        return replace(line, refused=str(refused))


async def _registered(
    pack: DeclaredPack, name: str, fetcher: Fetcher, registry: str
) -> tuple[DeclaredPack, str | None]:
    """The pack and its archive as the registry knows them; as the workflow knows it where there is no answer."""
    try:
        found = await look_up(fetcher, registry, name, pack.version)
    except FetchFailed:
        if pack.repository is None:
            raise
        return pack, None
    if found.refused:
        raise PathRefused(found.refused)
    dependencies = found.dependencies or pack.dependencies
    repository = found.repository or pack.repository
    return replace(pack, repository=repository, version=found.version, dependencies=dependencies), found.archive


async def _from_repository(pack: DeclaredPack, line: PackLine, fetcher: Fetcher, with_git: bool) -> PackLine:
    source = fetcher.sources.check(pack.repository)
    notes = _notes(pack)
    if source.scheme == "file":
        if not with_git:
            raise PathRefused("a repository of this machine needs git.")
        newest = pack.commit or await asyncio.to_thread(git.newest, source, threading.Event())
    else:
        await pinned_addresses(source)
        repository = await find_repository(fetcher, source.url)
        source, newest = repository.source, repository.newest or ""
    commit = pack.commit or newest
    if not commit:
        raise FetchFailed("the repository is empty.")
    if pack.commit is None:
        named = f"version {pack.version}, but not its commit" if pack.version else "no commit"
        notes = (*notes, f"The workflow names {named}. {_NEWEST}")
    line = replace(line, url=source.url, commit=commit, expected=_expected(pack))
    if with_git:
        return replace(line, notes=notes)
    archive = fetcher.sources.check(archive_url(source.url, commit)).url
    return replace(line, method="archive", archive=archive, notes=(*notes, _ARCHIVE))


def _blank(pack: DeclaredPack) -> PackLine:
    name = (pack.name or pack.registry_id or (pack.repository or "").rpartition("/")[2] or "unknown pack")[:100]
    identity = f"{pack.registry_id}|{pack.repository}|{pack.name}|{','.join(pack.classes)}"
    digest = hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:16]
    line = PackLine(digest, name, pack.classes, shown(pack.repository))
    return replace(line, commit=pack.commit, version=pack.version, expected=_expected(pack))


def _expected(pack: DeclaredPack) -> Requirements | None:
    return None if pack.dependencies is None else read_requirements("\n".join(pack.dependencies))


def _notes(pack: DeclaredPack) -> tuple[str, ...]:
    unsure = () if pack.classes else (_UNSURE,)
    return (*unsure, *((_DIRTY,) if pack.dirty else ()))


def _no_source(pack: DeclaredPack, registry: str | None) -> str:
    if pack.registry_id is None:
        return "the workflow does not say which pack brings these nodes. Ask its author."
    step = "It has no repository there." if registry else "RUNFLOW_AUTOSETUP_REGISTRY is empty, so it is not asked."
    return f'the workflow names it only as "{pack.registry_id}" of the Comfy Registry. {step}'


def _refuse_installed(pack: DeclaredPack, name: str, installed: dict[str, str]) -> None:
    there = installed.get(_folded(name)) or installed.get(_spelling(pack.repository or ""))
    if there:
        step = "Its import may have failed (ComfyUI's log says why), or it is off, or it needs another version."
        raise PathRefused(f'it is here already, as "{there}", but brings no such nodes. {step} It is left as it is.')


def _installed(folders: Collection[Path]) -> dict[str, str]:
    """The entries of the folders, by their names and by where they come from, in one spelling."""
    found: dict[str, str] = {}
    for folder in folders:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            name = entry.name.removesuffix(".disabled").removesuffix(".py")
            found.setdefault(_folded(name), entry.name)
            origin = read_origin(Path(entry.path)) if entry.is_dir() else None
            if origin:
                found.setdefault(_spelling(origin), entry.name)
    found.pop("", None)
    return found


def _once(lines: Any) -> list[PackLine]:
    """One line for each folder: what two declarations would put there is taken from the first."""
    found: dict[str, PackLine] = {}
    for line in lines:
        key = _folded(line.name) if line.refused is None else line.id
        before = found.get(key)
        found[key] = line if before is None else _joined(before, line)
    return list(found.values())


def _joined(line: PackLine, other: PackLine) -> PackLine:
    notes = line.notes
    if _spelling(line.url) != _spelling(other.url):
        notes = (*notes, f"The workflow names {other.url} for a pack of this name, too. That one is not installed.")
    return replace(line, classes=tuple(dict.fromkeys((*line.classes, *other.classes))), notes=notes)


def _folded(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(".", "")


def _spelling(url: str) -> str:
    return url.casefold().partition("://")[2].rpartition("@")[2].rstrip("/").removesuffix(".git")
