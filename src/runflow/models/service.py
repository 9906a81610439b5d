"""Rules of uploaded models: which are there, reading and deleting them, and what leases need of them."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction
from runflow.models import queries
from runflow.models.queries import MODEL_LIST
from runflow.models.schemas import ModelLookups, ModelRecord, model_record
from runflow.models.tables import ModelRow
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a worker needs to know of a model's file."""

    object_key: str
    filename: str
    size_bytes: int
    sha256: str


async def look_up(services: Services, caller: Principal, body: ModelLookups) -> dict[str, Any]:
    """Return which of these contents the organization has, and how much of the others was sent already."""
    hashes = {item.sha256 for item in body.items}
    async with services.db.tenant(caller.org_id) as transaction:
        found = await queries.by_hashes(transaction, hashes)
        sessions = await queries.open_uploads(transaction, hashes)
    received = {(row.sha256, row.size_bytes): row.received_bytes for row in sessions}
    items = []
    for item in body.items:
        model = found.get(item.sha256)
        known = model is not None and model.size_bytes == item.size_bytes
        items.append(
            {
                "sha256": item.sha256,
                "size_bytes": item.size_bytes,
                "model_id": model.id if model is not None and known else None,
                "received_bytes": item.size_bytes if known else received.get((item.sha256, item.size_bytes), 0),
            }
        )
    settings = services.settings
    return {"accepts_uploads": settings.accept_models, "max_bytes": settings.max_model_bytes, "items": items}


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's models."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, MODEL_LIST, query, queries.owned(caller.org_id), row=ModelRow, short=True)
    return envelope(found, [project(model_record(row), query) for row in found.rows])


async def get(services: Services, caller: Principal, model_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a model's record. Raises `ModelNotFound`, `InvalidField`."""
    check_projection(query, ModelRecord.model_fields, frozenset())
    async with services.db.tenant(caller.org_id) as transaction:
        model = await queries.get_model(transaction, model_id)
    if model is None:
        raise errors.ModelNotFound
    return project(model_record(model), query)


async def delete(services: Services, caller: Principal, model_id: UUID) -> None:
    """Delete a model with its bytes. Raises `ModelNotFound`.

    A worker that has it already keeps it; any other fails the runs that need it.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        model = await queries.remove_model(transaction, model_id)
        if model is None:
            raise errors.ModelNotFound
        await recorder.record(transaction, caller, "model.deleted", "model", model_id, {"sha256": model.sha256})
        await services.storage.delete([model.object_key])


async def held(transaction: Transaction, hashes: Collection[str]) -> dict[str, ModelFile]:
    """Return the files of those contents that the transaction's tenant has uploaded, by hash."""
    if not hashes:
        return {}
    return {
        sha256: ModelFile(row.object_key, row.filename, row.size_bytes, sha256)
        for sha256, row in (await queries.by_hashes(transaction, hashes)).items()
    }


_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model that a version needs: its path below `models/`, and its content."""

    path: str
    sha256: str


def declared(models: Any) -> tuple[DeclaredModel, ...]:
    """Return the models with a path and a SHA-256, whether they came as an object by path or as an array."""
    rows: Iterable[tuple[Any, Any]] = ()
    if isinstance(models, Mapping):
        rows = models.items()
    elif isinstance(models, list):
        rows = [(row.get("path"), row) for row in models if isinstance(row, Mapping)]
    found = []
    for path, row in rows:
        sha256 = row.get("sha256") if isinstance(row, Mapping) else None
        if isinstance(path, str) and path and isinstance(sha256, str) and _SHA256.fullmatch(sha256.lower()):
            found.append(DeclaredModel(path, sha256.lower()))
    return tuple(found)
