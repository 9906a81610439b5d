"""The Comfy Registry: from the name of a pack to its repository and to the archive of a version.

`RUNFLOW_AUTOSETUP_REGISTRY` in the process environment names another one, or, left empty, none.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .fetch import Fetcher, FetchFailed
from .sources import SourceRefused

VARIABLE = "RUNFLOW_AUTOSETUP_REGISTRY"
PUBLIC = "https://api.comfy.org"
_ACTIVE = "NodeVersionStatusActive"


@dataclass(frozen=True)
class Registered:
    """What the registry says of a pack. `refused`: why its archive must not be taken, where it says so."""

    repository: str | None
    archive: str | None
    version: str | None
    dependencies: tuple[str, ...]
    refused: str | None


def registry_url(environment: Mapping[str, str] = os.environ) -> str | None:
    """The registry to ask; None: the operator wants none to be asked."""
    return environment.get(VARIABLE, PUBLIC).strip().rstrip("/") or None


async def look_up(fetcher: Fetcher, registry: str, name: str, version: str | None) -> Registered:
    """What the registry knows of a pack, in the asked version or the latest.

    Raises:
        FetchFailed: it does not know the pack, or does not answer.
    """
    place = f"{registry}/nodes/{quote(name, safe='')}"
    asked = f"?version={quote(version, safe='')}" if version else ""
    try:
        node = await fetcher.json(place)
        found = await fetcher.json(f"{place}/install{asked}")
    except SourceRefused as refused:
        raise FetchFailed(f"The registry cannot be asked: {refused}") from None
    if not isinstance(node, dict) or not isinstance(found, dict):
        raise FetchFailed("The registry answers something unexpected.")
    status, listed = found.get("status"), found.get("dependencies")
    return Registered(
        _text(node.get("repository")),
        _text(found.get("downloadUrl")),
        _text(found.get("version")),
        tuple(each for each in listed if isinstance(each, str)) if isinstance(listed, list) else (),
        None if status in (None, "", _ACTIVE) else f"the registry does not release this version ({str(status)[:60]}).",
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
