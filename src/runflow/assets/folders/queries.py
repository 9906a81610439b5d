"""SQL of asset folders, and what their list can be filtered and sorted by.

Row-level security limits each statement to the transaction's tenant.
"""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, insert, select, update

from runflow.assets.folders.schemas import Folder
from runflow.assets.tables import AssetFolderRow, asset_folders
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec

SAME_NAME = "asset_folders_name"
"""The unique index of names beside each other."""

# The same lock as a foreign key's check: many may hold it, a deletion waits for all.
_HOLD = "SELECT id FROM asset_folders WHERE id = %(id)s FOR KEY SHARE"

_LOCK_TREE = "SELECT pg_advisory_xact_lock(hashtext('asset_folders'), hashtext(CAST(%(org)s AS text)))"

_PATH_TO = """
    WITH RECURSIVE path AS (
        SELECT id, parent_id, 0 AS depth FROM asset_folders WHERE id = %(id)s
        UNION ALL
        SELECT f.id, f.parent_id, path.depth + 1 FROM asset_folders f JOIN path ON f.id = path.parent_id
    )
    SELECT id FROM path ORDER BY depth
"""

_TREE_BELOW = """
    WITH RECURSIVE tree AS (
        SELECT id FROM asset_folders WHERE id = %(id)s
        UNION ALL
        SELECT f.id FROM asset_folders f JOIN tree ON f.parent_id = tree.id
    )
    SELECT id FROM tree
"""

_ASSETS_IN = "SELECT count(*) FROM assets WHERE folder_id = ANY(%(ids)s) AND deleted_at IS NULL"

_DELETE_ASSETS_IN = """
    UPDATE assets SET deleted_at = now(), deleted_by = %(deleted_by)s, updated_at = now(),
        purge_at = now() + make_interval(secs => %(grace)s)
    WHERE folder_id = ANY(%(ids)s) AND deleted_at IS NULL
"""

_REMOVE = "DELETE FROM asset_folders WHERE id = ANY(%(ids)s)"


def of_organization(org_id: UUID) -> Select[Any]:
    """Select an organization's folders, for a list."""
    return select(asset_folders).where(asset_folders.c.org_id == org_id)


async def get(transaction: Transaction, folder_id: UUID) -> AssetFolderRow | None:
    """Return a folder."""
    return await transaction.first(select(asset_folders).where(asset_folders.c.id == folder_id), row=AssetFolderRow)


async def hold(transaction: Transaction, folder_id: UUID) -> bool:
    """Keep a folder from being deleted until the transaction ends; False when there is none."""
    return await transaction.value(_HOLD, {"id": folder_id}, of=UUID) is not None


async def lock_tree(transaction: Transaction, org_id: UUID) -> None:
    """Let nobody else move or delete folders of this organization until the transaction ends."""
    await transaction.run(_LOCK_TREE, {"org": str(org_id)})


async def path_to(transaction: Transaction, folder_id: UUID) -> list[UUID]:
    """Return a folder and those above it, from the inside out."""
    return await transaction.values(_PATH_TO, {"id": folder_id}, of=UUID)


async def tree_below(transaction: Transaction, folder_id: UUID) -> list[UUID]:
    """Return a folder and every folder below it."""
    return await transaction.values(_TREE_BELOW, {"id": folder_id}, of=UUID)


async def add(transaction: Transaction, values: Mapping[str, Any]) -> AssetFolderRow:
    """Insert a folder; a taken name is a `Violation` on `SAME_NAME`."""
    statement = insert(asset_folders).values(**values, created_at=func.now(), updated_at=func.now())
    return await transaction.one(statement.returning(asset_folders), row=AssetFolderRow)


async def change(transaction: Transaction, folder_id: UUID, values: Mapping[str, Any]) -> AssetFolderRow | None:
    """Change a folder and return it; a taken name is a `Violation` on `SAME_NAME`."""
    statement = update(asset_folders).where(asset_folders.c.id == folder_id)
    statement = statement.values(**values, updated_at=func.now())
    return await transaction.first(statement.returning(asset_folders), row=AssetFolderRow)


async def assets_in(transaction: Transaction, folder_ids: Collection[UUID]) -> int:
    """Count the assets in these folders that were not deleted."""
    return await transaction.one_value(_ASSETS_IN, {"ids": list(folder_ids)}, of=int)


async def delete_assets_in(
    transaction: Transaction, folder_ids: Collection[UUID], *, deleted_by: UUID, grace_seconds: int
) -> None:
    """Mark the assets in these folders as deleted, as `assets.queries.delete_asset` does with one."""
    values = {"ids": list(folder_ids), "deleted_by": deleted_by, "grace": grace_seconds}
    await transaction.run(_DELETE_ASSETS_IN, values)


async def remove(transaction: Transaction, folder_ids: Collection[UUID]) -> None:
    """Delete folders; one that has a folder below it that is not among them is a `Violation`."""
    await transaction.change(_REMOVE, {"ids": list(folder_ids)})


FOLDER_LIST = ListSpec(
    from_=asset_folders,
    fields=(
        ListField("id", asset_folders.c.id, FieldKind.UUID),
        ListField("parent_id", asset_folders.c.parent_id, FieldKind.UUID, nullable=True),
        ListField("name", asset_folders.c.name, FieldKind.STRING),
        ListField("created_by", asset_folders.c.created_by, FieldKind.UUID, nullable=True),
        ListField("created_at", asset_folders.c.created_at, FieldKind.TIMESTAMP),
        ListField("updated_at", asset_folders.c.updated_at, FieldKind.TIMESTAMP),
    ),
    response_fields=frozenset(Folder.model_fields),
)
