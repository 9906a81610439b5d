"""Which source code versions name: noted when one is stored, and approved by whoever deploys and may do so."""

import asyncio
from collections.abc import Collection, Sequence
from uuid import UUID

import orjson
import structlog

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations import queries as organizations
from runflow.db.transaction import Transaction
from runflow.graph import GraphWarning
from runflow.protocol.origins import canonical
from runflow.sources import queries as source_queries
from runflow.sources import service as sources
from runflow.sources.named import NamedSource, named_sources
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import queries
from runflow.workflows.schemas import ApprovedSource

log = structlog.get_logger()

AT_ONCE = 20


async def note(transaction: Transaction, org_id: UUID, version_id: UUID) -> None:
    """Note in a tenant's transaction which sources a version names that is stored."""
    named, packages = await _read(transaction, version_id)
    await sources.note(transaction, org_id, version_id, named, packages)


async def approve(
    transaction: Transaction, caller: Principal, version_id: UUID, asked: Sequence[ApprovedSource] | None
) -> tuple[frozenset[tuple[str, str]], list[GraphWarning]]:
    """Approve what a caller was shown of a version's sources; return what is approved by it, and what surprises.

    Who may not approve deploys all the same. What was revoked before is not approved in passing. Raises
    `ValidationFailed` for a source that the version does not name.
    """
    if not asked:
        return frozenset(), []
    named = {one.key for one in (await _read(transaction, version_id))[0]}
    wanted = [_key(at, one, named) for at, one in enumerate(asked)]
    if sources.APPROVE_SCOPE not in caller.scopes or not await organizations.is_operator(transaction):
        return frozenset(), [
            GraphWarning(
                None,
                "approve_sources approved nothing: that takes a key of the operator's organization with the scope "
                f"{sources.APPROVE_SCOPE}.",
                "Ask the operator to approve what waits: `runflow sources list`.",
            )
        ]
    ids = [row.id for row in await source_queries.name(transaction, list(dict.fromkeys(wanted)))]
    for row in await source_queries.approve(transaction, ids, caller.key_id):
        details = {"origin": row.origin, "commit": row.commit}
        await recorder.record(transaction, caller, "source.approved", "source", row.id, details)
    return frozenset(wanted), []


def _key(at: int, one: ApprovedSource, named: Collection[tuple[str, str]]) -> tuple[str, str]:
    origin = canonical(one.origin)
    if origin is None or (origin, one.commit.lower()) not in named:
        message = (
            f"The version names no {one.commit[:40]!r} at {one.origin[:200]!r}. Send origins and commits of its own "
            "`environment` and `custom_nodes`, each as it stands there."
        )
        raise errors.ValidationFailed(
            f"body.approve_sources.{at}: {message}",
            errors=[{"loc": ["body", "approve_sources", at], "msg": message, "type": "value_error"}],
        )
    return origin, one.commit.lower()


async def _read(transaction: Transaction, version_id: UUID) -> tuple[tuple[NamedSource, ...], int]:
    stored = await queries.version_texts(transaction, version_id, ["environment", "custom_nodes"])

    def work() -> tuple[tuple[NamedSource, ...], int]:
        environment, custom_nodes = (orjson.loads(text or "null") for text in (stored.environment, stored.custom_nodes))
        return named_sources(environment, custom_nodes), sources.packages_count(environment)

    return await asyncio.to_thread(work)


async def read_earlier_versions(services: Services) -> None:
    """Note what versions name that were stored before there were sources, the newest first. It ends with the last.

    A process that dies meanwhile leaves some to be read again, which changes nothing.
    """
    while True:
        async with services.db.system() as transaction:
            unread = await queries.take_unread(transaction, AT_ONCE)
            for one in unread:
                try:
                    async with services.db.tenant(one.org_id) as own:
                        await note(own, one.org_id, one.version_id)
                except errors.Unavailable:
                    raise
                except Exception:
                    log.exception("what a version names was not read", version_id=str(one.version_id))
        if not unread:
            return
