"""SQL of what workers' engines can run: their lists, and the lanes that are kept from them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from runflow.db.transaction import Transaction
from runflow.protocol.abilities import Sandbox

# Noted as used first: a list that is named now does not go, whoever cleans up at the same moment. Many workers that
# come back at once have the same lists: only the first of them writes, and all lock in one order.
_USE = """
    UPDATE worker_lists SET used_at = now() WHERE hash IN (
        SELECT hash FROM worker_lists WHERE hash = ANY(%(hashes)s) AND used_at < now() - interval '5 minutes'
        ORDER BY hash FOR NO KEY UPDATE)
"""

_KNOWN = "SELECT hash FROM worker_lists WHERE hash = ANY(%(hashes)s)"

_ADD = """
    INSERT INTO worker_lists (hash, items, length)
    VALUES (%(hash)s, CAST(%(items)s AS json), json_array_length(CAST(%(items)s AS json)))
    ON CONFLICT (hash) DO UPDATE SET used_at = now()
"""

# The names stand in one column, so that each list is looked up among them instead of compared with every worker.
_FORGET = """
    DELETE FROM worker_lists WHERE hash IN (
        SELECT hash FROM worker_lists l WHERE used_at < now() - interval '10 minutes' AND NOT EXISTS (
            SELECT FROM (
                SELECT unnest(ARRAY[abilities->>'node_types', abilities->>'node_packs', abilities->>'models']) AS hash
                FROM workers WHERE removed_at IS NULL) AS named
            WHERE named.hash = l.hash)
        FOR UPDATE SKIP LOCKED)
"""

_LISTS = """
    SELECT hash, CAST(items AS text) AS items FROM worker_lists WHERE hash IN (
        SELECT hash FROM (
            SELECT hash, row_number() OVER (ORDER BY hash) AS place,
                   sum(pg_column_size(items)) OVER (ORDER BY hash) AS stored
            FROM worker_lists WHERE hash = ANY(%(hashes)s)) AS sized
        WHERE stored <= %(most_stored)s OR place = 1)
"""

_END_REFUSALS = """
    DELETE FROM lane_refusals r USING workers w
    WHERE w.name = %(name)s AND r.worker_id = w.id
        AND (w.instance <> %(instance)s OR w.abilities_hash IS DISTINCT FROM %(abilities_hash)s
            OR w.sandbox::text IS DISTINCT FROM %(sandbox)s)
"""

# Only of a worker that told what it can, and has not told anything else since it was given the run.
_REFUSE = """
    INSERT INTO lane_refusals (worker_id, lane_id, message)
    SELECT id, %(lane)s, %(message)s FROM workers
    WHERE id = %(worker)s AND abilities IS NOT NULL AND abilities_at <= %(offered_at)s
    ON CONFLICT (worker_id, lane_id) DO UPDATE SET message = excluded.message
"""

_TOLD = "SELECT abilities IS NOT NULL FROM workers WHERE id = %(worker)s"

_REFUSALS = "SELECT lane_id, worker_id, message FROM lane_refusals WHERE lane_id = ANY(%(lanes)s)"

_REFUSED = "SELECT lane_id, worker_id, message FROM lane_refusals WHERE worker_id = ANY(%(workers)s)"


@dataclass(frozen=True, slots=True)
class ListRow:
    """A list as JSON text, and the hash that names it."""

    hash: str
    items: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A lane that is kept from a worker, and the sentence in which its run failed there."""

    lane_id: UUID
    worker_id: UUID
    message: str


async def keep(transaction: Transaction, named: Collection[str], told: Mapping[str, bytes]) -> set[str]:
    """Keep the lists that came, of those that are named, and return which of the named are known now."""
    if not named:
        return set()
    await transaction.run(_USE, {"hashes": sorted(named)})
    known = set(await transaction.values(_KNOWN, {"hashes": sorted(named)}, of=str))
    fresh = sorted((name, items) for name, items in told.items() if name in named and name not in known)
    if fresh:
        await transaction.run(_FORGET)
    for name, items in fresh:
        await transaction.run(_ADD, {"hash": name, "items": items.decode()})
    return known.union(name for name, _ in fresh)


async def lists(transaction: Transaction, hashes: Collection[str], *, most_stored: int) -> list[ListRow]:
    """Return these lists, as far as there are any: as many as fit so many bytes as they are stored, but one."""
    return await transaction.rows(_LISTS, {"hashes": list(hashes), "most_stored": most_stored}, row=ListRow)


async def end_refusals(
    transaction: Transaction, *, name: str, instance: UUID, abilities_hash: str | None, sandbox: Sandbox | None
) -> None:
    """Offer a worker every lane again where it comes with another life, other abilities or another sandbox.

    To be called before it is registered.
    """
    told = None if sandbox is None else orjson.dumps(sandbox).decode()
    values = {"name": name, "instance": instance, "abilities_hash": abilities_hash, "sandbox": told}
    await transaction.run(_END_REFUSALS, values)


async def refuse(transaction: Transaction, *, worker: UUID, lane: UUID, message: str, offered_at: datetime) -> bool:
    """Keep a lane from a worker, unless that has told other abilities since `offered_at`.

    Return whether the worker ever told any: False where it never said that it could.
    """
    if not await transaction.value(_TOLD, {"worker": worker}, of=bool):
        return False
    await transaction.run(_REFUSE, {"worker": worker, "lane": lane, "message": message, "offered_at": offered_at})
    return True


async def refusals(transaction: Transaction, lanes: Collection[UUID]) -> list[Refusal]:
    """Return which workers these lanes are kept from."""
    return await transaction.rows(_REFUSALS, {"lanes": list(lanes)}, row=Refusal)


async def refused(transaction: Transaction, workers: Collection[UUID]) -> list[Refusal]:
    """Return which lanes are kept from these workers."""
    return await transaction.rows(_REFUSED, {"workers": list(workers)}, row=Refusal)
