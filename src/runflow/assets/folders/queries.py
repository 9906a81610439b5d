"""SQL of asset folders, and what their list can be filtered and sorted by.

Row-level security limits each statement to the transaction's tenant.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, delete, func, insert, literal, select, text, update

from runflow.assets.folders.schemas import Folder
from runflow.assets.tables import asset_folders, assets
from runflow.db.transaction import Transaction
from runflow.web.lists import FieldKind, ListField, ListSpec

SAME_NAME = "asset_folders_name"
"""The unique index of names beside each other."""

_LOCK_TREE = text("SELECT pg_advisory_xact_lock(hashtext('asset_folders'), hashtext(CAST(:org AS text)))")


def of_organization(org_id: UUID) -> Select[Any]:
    """Select an organization's folders, for a list."""
    return select(asset_folders).where(asset_folders.c.org_id == org_id)


async def rows(connection: Transaction, statement: Select[Any]) -> Sequence[RowMapping]:
    """Run a list's statement."""
    found: Sequence[RowMapping] = (await connection.execute(statement)).mappings().all()
    return found


async def get(connection: Transaction, folder_id: UUID) -> RowMapping | None:
    """Return a folder."""
    statement = select(asset_folders).where(asset_folders.c.id == folder_id)
    return (await connection.execute(statement)).mappings().one_or_none()


async def hold(connection: Transaction, folder_id: UUID) -> bool:
    """Keep a folder from being deleted until the transaction ends; False when there is none."""
    # The same lock as a foreign key's check: many may hold it, a deletion waits for all.
    statement = (
        select(asset_folders.c.id).where(asset_folders.c.id == folder_id).with_for_update(read=True, key_share=True)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def lock_tree(connection: Transaction, org_id: UUID) -> None:
    """Let nobody else move or delete folders of this organization until the transaction ends."""
    await connection.execute(_LOCK_TREE, {"org": str(org_id)})


async def path_to(connection: Transaction, folder_id: UUID) -> list[UUID]:
    """Return a folder and those above it, from the inside out."""
    path = (
        select(asset_folders.c.id, asset_folders.c.parent_id, literal(0).label("depth"))
        .where(asset_folders.c.id == folder_id)
        .cte("path", recursive=True)
    )
    above = select(asset_folders.c.id, asset_folders.c.parent_id, path.c.depth + 1)
    path = path.union_all(above.where(asset_folders.c.id == path.c.parent_id))
    found = await connection.execute(select(path.c.id).order_by(path.c.depth))
    return [row.id for row in found]


async def tree_below(connection: Transaction, folder_id: UUID) -> list[UUID]:
    """Return a folder and every folder below it."""
    tree = select(asset_folders.c.id).where(asset_folders.c.id == folder_id).cte("tree", recursive=True)
    tree = tree.union_all(select(asset_folders.c.id).where(asset_folders.c.parent_id == tree.c.id))
    return [row.id for row in await connection.execute(select(tree.c.id))]


async def add(connection: Transaction, values: Mapping[str, Any]) -> RowMapping:
    """Insert a folder; a taken name is an IntegrityError on `SAME_NAME`."""
    statement = insert(asset_folders).values(**values, created_at=func.now(), updated_at=func.now())
    row: RowMapping = (await connection.execute(statement.returning(asset_folders))).mappings().one()
    return row


async def change(connection: Transaction, folder_id: UUID, values: Mapping[str, Any]) -> RowMapping | None:
    """Change a folder and return it; a taken name is an IntegrityError on `SAME_NAME`."""
    statement = update(asset_folders).where(asset_folders.c.id == folder_id)
    statement = statement.values(**values, updated_at=func.now())
    row: RowMapping | None = (await connection.execute(statement.returning(asset_folders))).mappings().one_or_none()
    return row


async def assets_in(connection: Transaction, folder_ids: Collection[UUID]) -> int:
    """Count the assets in these folders that were not deleted."""
    statement = select(func.count()).where(assets.c.folder_id.in_(folder_ids), assets.c.deleted_at.is_(None))
    return int((await connection.execute(statement)).scalar_one())


async def delete_assets_in(
    connection: Transaction, folder_ids: Collection[UUID], *, deleted_by: UUID, grace_seconds: int
) -> None:
    """Mark the assets in these folders as deleted, as `assets.queries.delete_asset` does with one."""
    grace = text("make_interval(secs => :grace)").bindparams(grace=grace_seconds)
    await connection.execute(
        update(assets)
        .where(assets.c.folder_id.in_(folder_ids), assets.c.deleted_at.is_(None))
        .values(deleted_at=func.now(), deleted_by=deleted_by, updated_at=func.now(), purge_at=func.now() + grace)
    )


async def remove(connection: Transaction, folder_ids: Collection[UUID]) -> None:
    """Delete folders; one that has a folder below it that is not among them is an IntegrityError."""
    await connection.execute(delete(asset_folders).where(asset_folders.c.id.in_(folder_ids)))


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
