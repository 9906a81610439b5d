"""The model files that an engine finds, listed without reading them (docs/worker-api.md, "Abilities")."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runflow.protocol.abilities import MOST_MODELS, ModelFile
from runflow.worker.engine.folders import EXTRA_MODEL_PATHS, home_folder

LONGEST_PATH = 1000
"""Longest path of a model that is told, in characters."""
_PLACEHOLDER = re.compile(r"put_.+_here")
"""ComfyUI's own: it says what belongs into a folder."""

Stamp = tuple[tuple[str, int], ...]
"""The folders that were listed, each with when its entries changed last: compared to notice a change cheaply."""


class Unreadable(Exception):
    """What there is cannot be told: too many files, or an `extra_model_paths.yaml` in a form that is not known."""


@dataclass(frozen=True, slots=True)
class ModelRoots:
    """Where an owned engine looks: folders of one kind by its name, then folders that hold a folder for each kind.

    `first`: those of the former that come even before what the engine is given (`is_default` in the settings).
    """

    roots: tuple[Path, ...]
    of_kind: tuple[tuple[str, Path], ...] = ()
    first: tuple[Path, ...] = ()


def shown_roots(comfyui: Path, folders: tuple[Path, ...]) -> ModelRoots:
    """Return where every engine of this ComfyUI looks, each with a folder of its own beside it.

    `folders` are what it sees of what the settings name (`shown_folders`). Raises `Unreadable`.
    """
    shown = (_plain(comfyui), *folders)
    settings = comfyui / EXTRA_MODEL_PATHS

    def is_seen(folder: Path) -> bool:
        return any(_plain(folder).is_relative_to(one) for one in shown)

    first = [(kind, folder) for kind, folder in extra_folders(settings, default=True) if is_seen(folder)]
    rest = [(kind, folder) for kind, folder in extra_folders(settings, default=False) if is_seen(folder)]
    return ModelRoots((comfyui / "models",), (*first, *rest), tuple(folder for _, folder in first))


def shown_folders(comfyui: Path, home: Path) -> tuple[Path, ...]:
    """Return the folders that a sandbox shows because the ComfyUI's settings name them for models.

    Not what belongs to the worker, whose folder is `home`, nor a folder that has more in it than models: one that holds
    the worker's, the ComfyUI, or a person's home. Raises `Unreadable`.
    """
    ours = home.resolve()
    known = [path for path in (comfyui, home, home_folder()) if path is not None]
    apart = [path for one in known for path in (_plain(one), one.resolve())]
    private = {path for one in apart for path in (one, *one.parents)}
    found: dict[Path, None] = {}
    for _, named in extra_folders(comfyui / EXTRA_MODEL_PATHS):
        folder = _plain(named)
        real = folder.resolve()
        if folder not in private and real not in private and not real.is_relative_to(ours):
            found[folder] = None
    return tuple(found)


def named_models(comfyui: Path) -> list[tuple[str, Path]]:
    """Return kind and folder of what a ComfyUI's own settings name, nothing where their form is not known."""
    try:
        return list(extra_folders(comfyui / EXTRA_MODEL_PATHS))
    except Unreadable:
        return []


def _plain(folder: Path) -> Path:
    """Return the path as it is mounted: `..` is taken by the name, not by what a link leads to."""
    return Path(os.path.abspath(folder))  # noqa: PTH100


def list_models(
    roots: ModelRoots, hash_of: Callable[[Path], str | None] = lambda _: None
) -> tuple[list[ModelFile], Stamp]:
    """Return the files by path, each path once, and a stamp of the folders.

    `hash_of` returns the SHA-256 of a file where it is known, without reading it. Raises `Unreadable`.
    """
    found: dict[str, ModelFile] = {}
    stamps: dict[str, int] = {}
    for kind, folder in (*roots.of_kind, *(("", root) for root in roots.roots)):
        for path, entry in _files(folder, kind, stamps):
            if path in found:
                continue
            try:
                about = entry.stat()
                path.encode()
            except (OSError, UnicodeEncodeError):
                continue
            found[path] = ModelFile(path=path, size_bytes=about.st_size, sha256=hash_of(Path(entry.path)))
            if len(found) > MOST_MODELS:
                raise Unreadable(f"there are more than {MOST_MODELS} model files")
    return [found[path] for path in sorted(found)], tuple(sorted(stamps.items()))


def files_below(roots: ModelRoots) -> Iterator[Path]:
    """Yield the files that `list_models` would list, each once. Raises `Unreadable`."""
    stamps: dict[str, int] = {}
    for kind, folder in (*roots.of_kind, *(("", root) for root in roots.roots)):
        yield from (Path(entry.path) for _, entry in _files(folder, kind, stamps))


def is_same(stamp: Stamp) -> bool:
    """Tell whether nothing was added to these folders, or taken away, since they were listed."""
    return all(_changed_at(folder) == at for folder, at in stamp)


def _files(top: Path, kind: str, stamps: dict[str, int]) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
    """Yield files with their path below `models/`. Links are followed, each folder once."""
    waiting = [(str(top), kind)]
    while waiting:
        folder, path = waiting.pop()
        real = os.path.realpath(folder)
        if real in stamps:
            continue
        stamps[real] = _changed_at(real)
        if len(stamps) > MOST_MODELS:
            raise Unreadable(f"there are more than {MOST_MODELS} folders of models")
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or len(path) + len(entry.name) >= LONGEST_PATH or "\0" in entry.name:
                continue
            place = f"{path}/{entry.name}" if path else entry.name
            try:
                if entry.is_dir():
                    waiting.append((entry.path, place))
                elif entry.is_file() and "/" in place and not _PLACEHOLDER.fullmatch(entry.name):
                    yield place, entry
            except OSError:
                continue


def _changed_at(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns  # noqa: PTH116 (os.scandir speaks strings)
    except OSError:
        return -1


_TOP = re.compile(r"(?P<name>[^\s#:][^#:]*):\s*")
_ENTRY = re.compile(r"\s+(?P<name>[^\s#:][^:]*):\s*(?P<value>.*?)\s*")
_YES = frozenset({"true", "yes", "on"})
_NOT_KINDS = frozenset({"base_path", "is_default", "custom_nodes"})


def extra_folders(file: Path, *, default: bool | None = None) -> Iterator[tuple[str, Path]]:
    """Yield kind and folder of what an `extra_model_paths.yaml` in its documented form names.

    `default`: only of sections that say `is_default`, or only of others.

    No YAML library is among the worker's packages, and the form is small: names of installations, below each
    `base_path`, kinds with a folder, or with several after `|`. Raises `Unreadable` for any other form: a file in it is
    not known to be missing.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{file.name} cannot be read") from error
    for section in _sections(lines, file.name):
        is_default = (section.get("is_default") or [""])[0].lower() in _YES
        if default is not None and is_default is not default:
            continue
        base = os.path.expandvars((section.get("base_path") or [""])[0])
        root = file.parent / os.path.expanduser(base) if base else file.parent  # noqa: PTH111 (raises for no home)
        for kind, folders in section.items():
            if kind not in _NOT_KINDS:
                yield from ((kind, root / os.path.expanduser(folder)) for folder in folders)  # noqa: PTH111


def _sections(lines: list[str], name: str) -> Iterator[dict[str, list[str]]]:
    section: dict[str, list[str]] | None = None
    block: tuple[str, int] | None = None
    for line in lines:
        bare = line.strip()
        indent = len(line) - len(line.lstrip())
        if not bare or bare.startswith("#"):
            continue
        if block is not None and section is not None and indent > block[1]:
            section[block[0]].append(bare)
            continue
        block = None
        if top := _TOP.fullmatch(line):
            if section is not None:
                yield section
            section = {}
        elif section is not None and (entry := _ENTRY.fullmatch(line)):
            value = entry["value"].partition(" #")[0].strip()
            if value[:1] in ("{", "[", "&", "*", ">", "!"):
                raise Unreadable(f"{name} has a form that is not read here")
            if value in ("|", "|-", "|+"):
                section[entry["name"].strip()] = []
                block = entry["name"].strip(), indent
            else:
                section[entry["name"].strip()] = [value.strip("\"'")] if value else []
        else:
            raise Unreadable(f"{name} has a form that is not read here: {top or bare[:40]}")
    if section is not None:
        yield section
