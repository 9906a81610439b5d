"""What was resolved a while ago is not resolved again: the same question has the same answer for a day."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import orjson

from runflow.worker.runtime.build.environments import environment_in
from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.workshop import RESOLUTION_SECONDS, Workshop
from runflow.worker.runtime.packages.resolve import Resolution, ResolveAsk, resolve
from runflow.worker.runtime.packages.uv_compile import SourcePackage
from runflow.worker.runtime.record import write_atomically


def resolved(workshop: Workshop, torch: Runtime, ask: ResolveAsk, within: Path) -> Resolution:
    """Return `resolve`'s answer for the environment that holds torch, remembered for a day. Raises what it raises.

    `within` is the folder of the build, which goes where that is killed.
    """
    # A pack that asks for nothing has no part in the answer, whatever its name.
    ask = replace(ask, packs=[pack for pack in ask.packs if pack.requirements or pack.git])
    path = workshop.resolutions / f"{_key(workshop, torch, ask)}.json"
    if (known := _known(path)) is not None:
        return known
    found = resolve(ask, environment_in(workshop, torch.folder), cache=workshop.cache, within=within)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, orjson.dumps(asdict(replace(found, git=()))))
    return found


def _key(workshop: Workshop, torch: Runtime, ask: ResolveAsk) -> str:
    indexes = workshop.indexes
    told = {
        "torch": torch.fingerprint,
        "comfyui": list(ask.comfyui),
        "packs": sorted([one.pack, *one.requirements] for one in ask.packs),
        "preferences": dict(ask.preferences),
        # One that was built anew has another hash, which stands in the lock.
        "built": {name: [str(wheel), wheel.stat().st_mtime_ns] for name, wheel in ask.built.items()},
        "unbuildable": sorted(ask.unbuildable),
        "cuda": ask.cuda,
        "indexes": [indexes.environment_for_uv(), indexes.arguments_for_uv],
    }
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


def _known(path: Path) -> Resolution | None:
    try:
        if not 0 <= time.time() - path.stat().st_mtime < RESOLUTION_SECONDS:
            return None
        row = orjson.loads(path.read_bytes())
        return Resolution(
            lock=row["lock"],
            packages=row["packages"],
            held=_texts(row["held"]),
            dropped=_texts(row["dropped"]),
            sources=tuple(_source(one) for one in row["sources"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _source(row: Mapping[str, Any]) -> SourcePackage:
    sha256 = row["sha256"]
    hashed = None if sha256 is None else str(sha256)
    return SourcePackage(str(row["name"]), str(row["version"]), str(row["file"]), hashed, _texts(row["packs"]))


def _texts(value: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(one) for one in value)
