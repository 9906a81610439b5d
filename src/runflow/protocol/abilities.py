"""What a worker's engine can run, as the worker registers it (docs/worker-api.md, "Abilities").

The lists are long and seldom change, so a registration names each by its hash. The server asks for those that it has
never seen, once (`Registered.wants`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import orjson
from annotated_types import MaxLen

from runflow.protocol.bounds import Bytes, Sentence, Sha256, Short, Storable
from runflow.protocol.runtimes import Builds

MOST_NODE_TYPES = 20_000
MOST_NODE_PACKS = 1_000
MOST_MODELS = 20_000

PICKLES = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".bin", ".pkl", ".pickle"})
"""Suffixes of files that a loader may unpickle, which can run code."""

SAME_KIND = {"unet": "diffusion_models", "clip": "text_encoders", "t2i_adapter": "controlnet"}
"""Folders of `models/` that ComfyUI reads as one kind: the old name and the new one."""

ListName = Literal["node_types", "node_packs", "models"]
LIST_NAMES: tuple[ListName, ...] = ("node_types", "node_packs", "models")

Place = Annotated[str, MaxLen(1000), Storable()]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePack:
    """A folder or file in `custom_nodes`. Without a git checkout its origin and commit are not known."""

    folder: Short
    origin: Place | None = field(default=None, metadata={"description": "The address of its git repository."})
    commit: Short | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A file that the engine finds below `models/`. Size and SHA-256 only where they are known without reading it."""

    path: Place = field(metadata={"examples": ["checkpoints/mine.safetensors"]})
    size_bytes: Bytes | None = None
    sha256: Sha256 | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbilityLists:
    """The lists that the server asked for; null: not asked for."""

    node_types: Annotated[list[Short], MaxLen(MOST_NODE_TYPES)] | None = None
    node_packs: Annotated[list[NodePack], MaxLen(MOST_NODE_PACKS)] | None = None
    models: Annotated[list[ModelFile], MaxLen(MOST_MODELS)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What the engine can run. Each list by the hash of its items (`list_hash`); null: the worker cannot tell."""

    comfyui_version: Short | None = None
    comfyui_commit: Short | None = None
    node_types: Sha256 | None = None
    node_packs: Sha256 | None = None
    models: Sha256 | None = None
    places_models: bool = field(
        default=False, metadata={"description": "It fetches the models that an organization has uploaded."}
    )
    fetches_addresses: bool = field(
        default=False, metadata={"description": "It fetches models from the addresses that a manifest names, too."}
    )
    allows_pickle: bool = field(default=False, metadata={"description": "It fetches formats that can hold code, too."})
    builds: Builds = field(
        default=Builds.OFF,
        metadata={"description": "Whether it builds the runtime of a version whose node classes its engine lacks."},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What the engine cannot leave, and how fast a fresh one is there."""

    rung: Short
    separates_files: bool = field(
        metadata={"description": "What one domain's runs read and write is out of reach for another's."}
    )
    isolation: Short = field(metadata={"examples": ["organization"], "description": "`RUNFLOW_ISOLATION`."})
    fork_level: int | None = None
    why_not_better: Sentence | None = None


def list_hash(items: Sequence[str] | Sequence[NodePack] | Sequence[ModelFile]) -> str:
    """Return the name of a list: the SHA-256 of its items as compact JSON, in the order in which they are sent."""
    return hashlib.sha256(orjson.dumps(items)).hexdigest()
