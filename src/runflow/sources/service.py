"""Rules of sources: noting what versions name, and what the operator says of it (docs/api/sources.md)."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations.identity import require_operator
from runflow.db.transaction import Transaction
from runflow.sources import queries
from runflow.sources.known import publish
from runflow.sources.named import NamedSource
from runflow.sources.queries import SOURCE_LIST
from runflow.sources.tables import SourceRow, SourceState
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, envelope, project, read_page
from runflow.web.services import Services

APPROVE_SCOPE = "sources:approve"


async def note(
    transaction: Transaction, org_id: UUID, version_id: UUID, named: Collection[NamedSource], packages_count: int
) -> list[queries.SourceId]:
    """Note in a tenant's transaction which sources its new version names; return them with their ids.

    Those that nobody has named before wait for the operator.
    """
    if not named:
        return []
    names: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    kinds: dict[tuple[str, str], str] = {}
    for one in named:
        names[one.key][one.name] = None
        kinds.setdefault(one.key, one.kind)
    found = await queries.name(transaction, list(names))
    values: Mapping[str, Any] = {
        "org_id": org_id,
        "version_id": version_id,
        "packages_count": packages_count,
        "source_ids": [row.id for row in found],
        "kinds": [kinds[row.origin, row.commit] for row in found],
        "names": [orjson.dumps(list(names[row.origin, row.commit])).decode() for row in found],
    }
    await queries.note(transaction, values)
    return found


def packages_count(environment: Any) -> int:
    """Return how many Python packages the environment of a version names."""
    packages = environment.get("packages") if isinstance(environment, Mapping) else None
    return len(packages) if isinstance(packages, Mapping | Sequence) and not isinstance(packages, str) else 0


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the installation's sources. Raises `PermissionDenied`."""
    async with services.db.system(durable=False) as transaction:
        await require_operator(transaction, caller)
        found = await read_page(transaction, SOURCE_LIST, query, queries.shown(), row=SourceRow, short=True)
        items = await _records(transaction, found.rows)
    return envelope(found, [project(item, query) for item in items])


async def decide(services: Services, caller: Principal, source_id: UUID, state: SourceState) -> dict[str, Any]:
    """Approve a source or revoke it, and return its record; again, it changes nothing.

    Raises `PermissionDenied`, `SourceNotFound`.
    """
    async with services.db.system() as transaction:
        await require_operator(transaction, caller)
        row = await queries.decide(transaction, source_id, state, caller.key_id)
        if row is not None:
            details = {"origin": row.origin, "commit": row.commit}
            await recorder.record(transaction, caller, f"source.{state}", "source", source_id, details)
        is_changed = row is not None
        row = row or await queries.get(transaction, source_id)
        if row is None:
            raise errors.SourceNotFound
        (found,) = await _records(transaction, [row])
    if is_changed:
        publish(services)
    return found


async def _records(transaction: Transaction, rows: Sequence[SourceRow]) -> list[dict[str, Any]]:
    ids = [row.id for row in rows]
    names = {one.source_id: one for one in await queries.names(transaction, ids)}
    deployed = {one.source_id: one for one in await queries.deployed(transaction, ids)}
    using: dict[UUID, list[queries.UsingWorkflow]] = defaultdict(list)
    for one in await queries.workflows(transaction, ids):
        using[one.source_id].append(one)
    return [_record(row, names.get(row.id), deployed.get(row.id), using[row.id]) for row in rows]


def _record(
    row: SourceRow,
    names: queries.NamesRow | None,
    deployed: queries.DeployedRow | None,
    using: Sequence[queries.UsingWorkflow],
) -> dict[str, Any]:
    return {
        "id": row.id,
        "origin": row.origin,
        "commit": row.commit,
        "kind_code": names.kind_code if names else None,
        "names": orjson.loads(names.names) if names else [],
        "state_code": row.state_code,
        "first_seen_at": row.first_seen_at,
        "decided_at": row.decided_at,
        "decided_by": row.decided_by,
        "workflows": [
            {"id": one.id, "name": one.name, "path": one.path, "organization": one.organization} for one in using
        ],
        "workflows_count": using[0].total if using else 0,
        "deployed_by": _deployment(deployed) if deployed else None,
        "packages_count": deployed.packages_count if deployed else None,
    }


def _deployment(row: queries.DeployedRow) -> dict[str, Any]:
    return {
        "organization": row.organization,
        "key_id": row.key_id,
        "key_name": row.key_name,
        "email": row.email,
        "at": row.created_at,
    }
