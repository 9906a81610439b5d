"""Rules of uploaded models: which are there, reading and deleting them, and what leases need of them."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction
from runflow.models import queries
from runflow.models.queries import MODEL_LIST
from runflow.models.schemas import EMBEDS, ModelLookups, ModelRecord
from runflow.models.tables import ModelRow
from runflow.models.usage import MOST_IN_SENTENCE, in_use, usage
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
    users = await usage(services, caller, found.rows, query.embed)
    return envelope(found, [project(users.record(row), query) for row in found.rows])


async def get(services: Services, caller: Principal, model_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a model's record. Raises `ModelNotFound`, `InvalidField`."""
    check_projection(query, ModelRecord.model_fields, EMBEDS)
    async with services.db.tenant(caller.org_id) as transaction:
        model = await queries.get_model(transaction, model_id)
    if model is None:
        raise errors.ModelNotFound
    users = await usage(services, caller, [model], query.embed)
    return project(users.record(model), query)


async def delete(services: Services, caller: Principal, model_id: UUID, *, force: bool = False) -> None:
    """Delete a model with its bytes. Raises `ModelNotFound`, and without `force` `Conflict` for one that is in use.

    Runs that need it wait for a worker that has the file of its own.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        model = await queries.get_model(transaction, model_id)
        if model is None:
            raise errors.ModelNotFound
        if not force:
            uses = await queries.uses(transaction, caller.org_id, [model.sha256], MOST_IN_SENTENCE)
            if model.sha256 in uses:
                raise in_use(model, uses[model.sha256])
        if await queries.remove_model(transaction, model_id) is None:
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
_ADDRESS = re.compile(r"https?://[^\s/]", re.IGNORECASE)


MOST_DECLARED = 2_000
"""Of a manifest that declares more models only so many are held against a worker, and sent to it."""
_LONGEST_URL = 8_000


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model that a version needs: its path below `models/`, its content, and where it can be fetched, if told."""

    path: str
    sha256: str | None = None
    url: str | None = None
    size_bytes: int | None = None


def declared(models: Any) -> tuple[DeclaredModel, ...]:
    """Return the models of a manifest, whether they came as an object by path or as an array.

    What cannot be understood asks for nothing: a row without a path, a hash that is none, an address of another kind.
    """
    rows: Iterable[tuple[Any, Any]] = ()
    if isinstance(models, Mapping):
        rows = models.items()
    elif isinstance(models, list):
        rows = [(_path_of(row), row) for row in models if isinstance(row, Mapping)]
    found = [_declared(path, row) for path, row in rows if isinstance(path, str) and path.strip("/ ")]
    return tuple(found[:MOST_DECLARED])


def _path_of(row: Mapping[Any, Any]) -> Any:
    return next((row[key] for key in ("path", "name", "filename") if row.get(key)), None)


def _declared(path: str, row: Any) -> DeclaredModel:
    row = row if isinstance(row, Mapping) else {}
    sha256, url, size = row.get("sha256"), row.get("url"), row.get("size_bytes")
    return DeclaredModel(
        path,
        sha256.lower() if is_sha256(sha256) else None,
        address(url),
        size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None,
    )


def is_sha256(value: Any) -> TypeGuard[str]:
    """Tell whether a value of a manifest is a SHA-256, in hexadecimal of either case."""
    return isinstance(value, str) and _SHA256.fullmatch(value.lower()) is not None


def address(value: Any) -> str | None:
    """Return a value of a manifest if a file can be fetched from it, else None."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_URL and _ADDRESS.match(value) else None
