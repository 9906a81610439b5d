"""Rules of asset folders: names unique beside each other, no cycles, and nothing deleted that was not meant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations.limits import Limited, require_place
from runflow.assets.folders import queries
from runflow.assets.folders.queries import FOLDER_LIST
from runflow.assets.folders.schemas import CreateFolder, Folder, PatchFolder
from runflow.assets.tables import AssetFolderRow
from runflow.db.transaction import Transaction, Violation
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services

MAX_DEPTH = 32
"""How many folders may lie within each other."""
hold = queries.hold


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's folders."""
    base = queries.of_organization(caller.org_id)
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, FOLDER_LIST, query, base, row=AssetFolderRow, short=True)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def get(services: Services, caller: Principal, folder_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a folder. Raises `AssetFolderNotFound`, `InvalidField`."""
    check_projection(query, Folder.model_fields, ())
    async with services.db.tenant(caller.org_id) as transaction:
        row = await queries.get(transaction, folder_id)
    if row is None:
        raise errors.AssetFolderNotFound
    return project(record(row), query)


async def create(services: Services, caller: Principal, body: CreateFolder) -> dict[str, Any]:
    """Make a folder.

    Raises `Conflict` for a taken name, `ValidationFailed` for a parent that is not there, `LimitReached` when there are
    too many.
    """
    own = {"id": new_id(), "org_id": caller.org_id, "created_by": caller.key_id}
    async with _tree(services, caller, body.name) as transaction:
        await require_place(transaction, services.settings, caller.org_id, Limited.ASSET_FOLDERS)
        if body.parent_id is not None:
            await require(transaction, body.parent_id, "parent_id")
            _check_depth(await queries.path_to(transaction, body.parent_id))
        row = await queries.add(transaction, own | body.model_dump())
        await recorder.record(transaction, caller, "asset_folder.created", "asset_folder", own["id"])
    return record(row)


async def change(services: Services, caller: Principal, folder_id: UUID, body: PatchFolder) -> dict[str, Any]:
    """Rename or move a folder with all that is in it.

    Raises `AssetFolderNotFound`, `Conflict` for a taken name, and `ValidationFailed` for a parent that is not there or
    lies inside the folder itself.
    """
    values = {name: getattr(body, name) for name in body.model_fields_set}
    if values.get("name", "") is None:
        del values["name"]
    async with _tree(services, caller, body.name) as transaction:
        if "parent_id" in values:
            # Two moves at once could close a circle that neither of them sees.
            await queries.lock_tree(transaction, caller.org_id)
        if values.get("parent_id") is not None:
            await require(transaction, values["parent_id"], "parent_id")
            path = await queries.path_to(transaction, values["parent_id"])
            if folder_id in path:
                raise _refused("A folder cannot be moved into itself or into a folder below it.", "parent_id", "cycle")
            _check_depth(path)
        row = await queries.change(transaction, folder_id, values)
        if row is None:
            raise errors.AssetFolderNotFound
        if values:
            details = {"fields": sorted(values)}
            await recorder.record(transaction, caller, "asset_folder.updated", "asset_folder", folder_id, details)
    return record(row)


async def delete(services: Services, caller: Principal, folder_id: UUID, *, recursive: bool) -> None:
    """Delete a folder; with `recursive` all assets and folders in it as well.

    Raises `AssetFolderNotFound`, and `Conflict` when it is not empty and nobody said `recursive`.
    """
    async with _tree(services, caller, None) as transaction:
        await queries.lock_tree(transaction, caller.org_id)
        tree = await queries.tree_below(transaction, folder_id)
        if not tree:
            raise errors.AssetFolderNotFound
        count = await queries.assets_in(transaction, tree)
        if not recursive and (count or len(tree) > 1):
            raise errors.Conflict(
                f"The folder is not empty: {_counted(count, 'asset')} and {_counted(len(tree) - 1, 'folder')} are in "
                "it. Move or delete them first, or send `?recursive=true`, which deletes them too."
            )
        if recursive:
            await queries.delete_assets_in(
                transaction, tree, deleted_by=caller.key_id, grace_seconds=services.settings.output_url_seconds
            )
        # What was moved in since it was counted stays, outside of any folder (`assets_folder` of the migrations).
        await queries.remove(transaction, tree)
        details = {"assets": count, "folders": len(tree) - 1}
        await recorder.record(transaction, caller, "asset_folder.deleted", "asset_folder", folder_id, details)


async def require(transaction: Transaction, folder_id: UUID, field: str) -> None:
    """Keep a folder that a body's field names from being deleted. Raises `ValidationFailed` when there is none."""
    if not await queries.hold(transaction, folder_id):
        raise _refused(f"There is no folder {folder_id} in your organization.", field, "not_found")


def record(row: AssetFolderRow) -> dict[str, Any]:
    """Return a folder as the wire shows it."""
    return {
        "id": row.id,
        "org_id": row.org_id,
        "parent_id": row.parent_id,
        "name": row.name,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


@asynccontextmanager
async def _tree(services: Services, caller: Principal, name: str | None) -> AsyncIterator[Transaction]:
    """A transaction on the caller's folders; what the database refuses is a `Conflict`."""
    try:
        async with services.db.tenant(caller.org_id) as transaction:
            yield transaction
    except Violation as error:
        if queries.SAME_NAME in str(error):
            raise errors.Conflict(f"There is a folder called {name!r} already. Choose another name.") from error
        raise errors.Conflict("The folder was changed by someone else at the same time. Try again.") from error


def _check_depth(path: list[UUID]) -> None:
    if len(path) >= MAX_DEPTH:
        raise _refused(f"At most {MAX_DEPTH} folders may lie within each other.", "parent_id", "too_deep")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _refused(message: str, field: str, kind: str) -> errors.ValidationFailed:
    return errors.ValidationFailed(message, errors=[{"loc": ["body", field], "msg": message, "type": kind}])
