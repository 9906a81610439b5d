"""A version's resources: files below ComfyUI's `input/` that its prompt names (docs/api/workflows.md)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from runflow.assets import service as assets
from runflow.db.transaction import Transaction
from runflow.graph import GraphWarning
from runflow.workflows import warnings as workflows_warnings


@dataclass(frozen=True, slots=True)
class Resource:
    """One file: its path below `input/`, its asset (None where none is named), its SHA-256 where it is known."""

    path: str
    asset_id: UUID | None
    sha256: str | None


def declared(resources: Any) -> list[Resource]:
    """Return the resources, whether they came as an object by path or as an array."""
    rows: Iterable[tuple[Any, Any]] = ()
    if isinstance(resources, Mapping):
        rows = resources.items()
    elif isinstance(resources, list):
        rows = [(row.get("path"), row) for row in resources if isinstance(row, Mapping)]
    return [_resource(str(path), row) for path, row in rows]


def paths(resources: Any) -> list[str]:
    """Return where the resources are placed, relative to `input/`."""
    return [one.path for one in declared(resources)]


async def warnings(transaction: Transaction, resources: Any) -> list[GraphWarning]:
    """Warn of resources whose asset the transaction's tenant does not have."""
    wanted = declared(resources)
    if not wanted:
        return []
    found = await assets.resolve(transaction, {one.asset_id for one in wanted if one.asset_id is not None})
    return list(workflows_warnings.about_resources(one.path for one in wanted if one.asset_id not in found))


async def same_files(transaction: Transaction, before: Any, after: Any) -> bool:
    """Tell whether two documents place the same files, by SHA-256, and the assets of the first are all there."""
    placed, wanted = declared(before), declared(after)
    if {one.path: one.sha256 for one in placed} != {one.path: one.sha256 for one in wanted}:
        return False
    if any(one.sha256 is None or one.asset_id is None for one in placed):
        return False
    ids = {one.asset_id for one in placed if one.asset_id is not None}
    return len(await assets.resolve(transaction, ids)) == len(ids)


def _resource(path: str, row: Any) -> Resource:
    asset_id = sha256 = None
    if isinstance(row, Mapping):
        sha256 = row.get("sha256") if isinstance(row.get("sha256"), str) else None
        try:
            asset_id = UUID(str(row.get("asset_id")))
        except ValueError:
            asset_id = None
    return Resource(path, asset_id, sha256)
