"""What runtime a version asks for, read from its documents, and refused where it cannot be had safely."""

import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from runflow.protocol.named_packs import (
    MOST_CLASSES,
    MOST_NAME,
    MOST_PACKS,
    is_brought_along,
    is_folder_name,
    is_installer,
    named_packs,
    origin_of,
    text_of,
)
from runflow.protocol.origins import is_commit, origin_fault, undecorated
from runflow.worker.runtime.commands import InstallError

MOST_PACKAGES = 2_000
MOST_NODE_TYPES = 20_000
MOST_CHARACTERS = MOST_NAME
"""Longest name or version."""

_AGAIN = "Deploy the version again from a ComfyUI whose packs are git checkouts of public repositories"


class ManifestRefused(InstallError):
    """The runtime that a version asks for is not built. The message names what is wrong with it, and the next step."""


@dataclass(frozen=True, slots=True)
class ComfyAsk:
    """Which ComfyUI: a commit, or at least a version. Without an origin it is the official one."""

    origin: str | None = None
    commit: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class PackAsk:
    """A node pack at a commit. `name` is its folder; `classes` are those of the prompt that it provides."""

    name: str
    origin: str
    commit: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RuntimeAsk:
    """What a version asks for. `packages`: the author's environment, names normalised; `notes`: what was left out."""

    comfyui: ComfyAsk
    packs: tuple[PackAsk, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    node_types: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_manifest(
    environment: Any, custom_nodes: Any, prompt: Any, *, allowed_prefixes: Collection[str] = ()
) -> RuntimeAsk:
    """Read what a version's documents ask for, in every shape that callers send them in.

    `allowed_prefixes` are starts of addresses that are taken beside `https://`. Raises ManifestRefused.
    """
    environment = environment if isinstance(environment, Mapping) else {}
    packages, notes = _packages(environment.get("packages"))
    packs, changed = _packs(custom_nodes, allowed_prefixes)
    return RuntimeAsk(
        comfyui=_comfyui(environment.get("comfyui"), allowed_prefixes),
        packs=packs,
        packages=packages,
        node_types=_node_types(prompt),
        notes=(*changed, *notes),
    )


def _comfyui(value: Any, allowed_prefixes: Collection[str]) -> ComfyAsk:
    value = value if isinstance(value, Mapping) else {}
    origin, commit, version = origin_of(value), text_of(value, "commit"), text_of(value, "version")
    if not commit and not version:
        raise ManifestRefused(f"The version names no commit and no version of ComfyUI. {_AGAIN}.")
    if commit and not is_commit(commit.lower()):
        raise ManifestRefused(f"ComfyUI's commit {_shown(commit)} is no full commit id. Name all its 40 digits.")
    if origin and (fault := origin_fault(origin, allowed_prefixes)):
        raise ManifestRefused(f"ComfyUI's origin {_shown(origin)} {fault}. {_AGAIN}.")
    _bounded(version or "", "ComfyUI's version")
    return ComfyAsk(origin, commit.lower() if commit else None, version)


def _packs(custom_nodes: Any, allowed_prefixes: Collection[str]) -> tuple[tuple[PackAsk, ...], list[str]]:
    notes: list[str] = []
    found: dict[str, PackAsk] = {}
    rows = [(name, row) for name, row in named_packs(custom_nodes) if not is_brought_along(name, row)]
    if len(rows) > MOST_PACKS:
        raise ManifestRefused(f"The version names {len(rows)} node packs; a runtime takes {MOST_PACKS}. Remove some.")
    for name, row in rows:
        pack = _pack(name, row, allowed_prefixes)
        key = unicodedata.normalize("NFKC", pack.name).casefold()  # some disks hold one folder under both spellings
        if key in found:
            raise ManifestRefused(f"The version names the node pack {_shown(pack.name)} twice. Remove one of them.")
        found[key] = pack
        if isinstance(row, Mapping) and row.get("dirty") is True:
            notes.append(f"The author's copy of the node pack {name} differs from its commit, which is what is taken.")
    return tuple(sorted(found.values(), key=lambda pack: pack.name)), notes


def _pack(name: Any, row: Any, allowed_prefixes: Collection[str]) -> PackAsk:
    if not is_folder_name(name):
        raise ManifestRefused(
            f"The node pack {_shown(name)} has a name that is no plain folder name. Rename its folder below "
            "custom_nodes, and deploy again."
        )
    row = row if isinstance(row, Mapping) else {}
    origin, commit = origin_of(row), text_of(row, "commit")
    if is_installer(name, origin):
        raise ManifestRefused(
            f"The node pack {name} is not taken: it is an installer, and what it installs would be in no record. "
            "Remove its nodes from the workflow; a runtime gets what the other packs need without it."
        )
    if not origin or not commit:
        lacks = " and ".join(what for what, value in (("origin", origin), ("commit", commit)) if not value)
        raise ManifestRefused(f"The node pack {name} comes without {lacks}, so nobody can fetch it. {_AGAIN}.")
    if not is_commit(commit.lower()):
        raise ManifestRefused(
            f"The node pack {name} names the commit {_shown(commit)}, which is no full commit id: a branch or a short "
            "id may mean something else tomorrow. Name all its 40 digits."
        )
    if fault := origin_fault(origin, allowed_prefixes):
        raise ManifestRefused(f"The node pack {name} comes from {_shown(origin)}, which {fault}. {_AGAIN}.")
    classes = _texts(row.get("classes"))
    if len(classes) > MOST_CLASSES:
        raise ManifestRefused(f"The node pack {name} lists {len(classes)} classes; {MOST_CLASSES} are taken.")
    for one in classes:
        _bounded(one, f"A class of the node pack {name}")
    return PackAsk(name, undecorated(origin), commit.lower(), classes)


def _packages(value: Any) -> tuple[dict[str, str], list[str]]:
    rows = list(_package_rows(value))
    if len(rows) > MOST_PACKAGES:
        raise ManifestRefused(
            f"The version names {len(rows)} Python packages; {MOST_PACKAGES} are taken. Deploy it from an environment "
            "of ComfyUI's own."
        )
    found: dict[str, str] = {}
    notes: list[str] = []
    for name, version, is_elsewhere in rows:
        _bounded(str(name), "The name of a package")
        _bounded(str(version), f"The version of the package {name}")
        try:
            normalised, exact = canonicalize_name(str(name), validate=True), str(Version(str(version)))
        except (InvalidName, InvalidVersion):
            notes.append(
                f"The package {_shown(name)} {_shown(version)} was left out: it has no valid name and version."
            )
            continue
        if is_elsewhere:
            notes.append(f"The package {normalised} {exact} was left out: its author has it from a repository.")
        elif found.setdefault(normalised, exact) != exact:
            notes.append(f"The package {normalised} is named twice; {found[normalised]} counts, not {exact}.")
    return found, notes


def _package_rows(value: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Yield name, version, and whether it came from a repository, for which an index may hold a stranger's package."""
    if isinstance(value, Mapping):
        yield from ((name, version, False) for name, version in value.items())
    for row in value if isinstance(value, list) else ():
        if isinstance(row, Mapping):
            yield row.get("name"), row.get("version"), bool(row.get("commit"))
        else:
            name, _, version = str(row).partition("==")
            yield name.strip(), version.strip(), False


def _node_types(prompt: Any) -> tuple[str, ...]:
    nodes = prompt.values() if isinstance(prompt, Mapping) else ()
    told = {node.get("class_type") for node in nodes if isinstance(node, Mapping)}
    found = sorted({name for name in told if isinstance(name, str) and name})
    if len(found) > MOST_NODE_TYPES:
        raise ManifestRefused(f"The prompt has {len(found)} classes of nodes; {MOST_NODE_TYPES} are taken.")
    for name in found:
        _bounded(name, "A class of the prompt")
    return tuple(found)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(sorted({one for one in value if isinstance(one, str)})) if isinstance(value, list) else ()


def _bounded(text: str, what: str) -> None:
    if len(text) > MOST_CHARACTERS:
        raise ManifestRefused(f"{what} has more than {MOST_CHARACTERS} characters: {_shown(text)}. Deploy it again.")


def _shown(value: Any) -> str:
    """Return a value of strangers as it may stand in a message: printable, short, and seen to be quoted."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
