"""SQL of the sweeper: what nobody holds any more."""

from datetime import datetime
from uuid import UUID

from runflow.db.transaction import Fetched, Transaction
from runflow.queue.rows import OpenLease, RunWithLeftovers, UnansweredOffers, UnsweptAttempt

_EXPIRED = """
    SELECT a.id AS lease, a.worker_id AS worker, a.worker_instance AS instance FROM run_attempts a
    WHERE a.status_code = ANY(%(states)s) AND a.expires_at < clock_timestamp()
      AND a.id <> ALL(CAST(%(aside)s AS uuid[]))
    ORDER BY a.expires_at LIMIT 100
"""

_OF_OLDER_LIVES = """
    SELECT a.id AS lease, a.worker_id AS worker, a.worker_instance AS instance FROM run_attempts a
    WHERE a.worker_id = %(worker)s AND a.worker_instance <> %(instance)s AND a.status_code IN ('offered', 'live')
"""

OFFERS_IN_A_ROW = 3
"""So many offers that a worker left unanswered keep it away for `PAUSE_SECONDS`."""
PAUSE_SECONDS = 60.0
ROW_SECONDS = 120.0
"""An offer that lapses later than this after the one before begins a new row. Longer than a pause: a worker that
answers nothing after it, either, is kept away again at once."""

_NOTE_LAPSE = "UPDATE runs SET lapsed_offers = lapsed_offers + 1 WHERE id = %(run)s"

# Ids of attempts are in the order of time (UUIDv7: the first 48 bits are milliseconds), so the primary key finds those
# that were given out since.
_NOTE_UNANSWERED = """
    WITH known AS (
        SELECT w.id, w.unanswered_offers + 1 AS count FROM workers w
        WHERE w.id = %(worker)s AND w.unanswered_at > clock_timestamp() - make_interval(secs => %(row_seconds)s)
          AND NOT EXISTS (
            SELECT FROM run_attempts a
            WHERE a.id > rpad(lpad(to_hex((1000 * extract(epoch FROM w.unanswered_at))::bigint), 12, '0'),
                              32, '0')::uuid
              AND a.worker_id = w.id AND a.number IS NOT NULL AND a.status_code <> 'lost')
    ), counted AS (SELECT coalesce((SELECT count FROM known), 1) AS count)
    UPDATE workers w SET unanswered_offers = c.count, unanswered_at = clock_timestamp(),
        paused_until = CASE WHEN c.count >= %(offers)s
                       THEN clock_timestamp() + make_interval(secs => %(pause_seconds)s) END
    FROM counted c WHERE w.id = %(worker)s AND (w.unanswered_at IS NULL OR w.unanswered_at < %(offered_at)s)
    RETURNING w.name, w.unanswered_offers, w.paused_until
"""

_UNSWEPT = """
    SELECT id, run_id FROM run_attempts
    WHERE status_code IN ('failed', 'cancelled', 'lost') AND NOT objects_swept
      AND completed_at < clock_timestamp() - make_interval(secs => %(after_seconds)s)
      AND id <> ALL(CAST(%(aside)s AS uuid[]))
    ORDER BY completed_at LIMIT 100
"""

_WITH_LEFTOVERS = """
    SELECT r.id, ARRAY(SELECT a.id FROM run_attempts a WHERE a.run_id = r.id) AS attempts FROM runs r
    WHERE r.has_leftovers AND r.completed_at < clock_timestamp() - make_interval(secs => %(after_seconds)s)
      AND r.id <> ALL(CAST(%(aside)s AS uuid[]))
    ORDER BY r.completed_at LIMIT 100
"""

_NO_LEFTOVERS = "UPDATE runs SET has_leftovers = false WHERE id = ANY(%(ids)s)"

# Claims do not wait for the disk: one that a crash forgot left no attempt, and what was stored for it lies where no row
# looks. A run may have been claimed again and have ended by now.
_DOUBT_UNFINISHED = """
    UPDATE runs SET has_leftovers = true WHERE id IN (
        SELECT id FROM runs WHERE completed_at IS NULL AND NOT has_leftovers ORDER BY id LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED)
"""
_IS_UNDOUBTED = """
    SELECT EXISTS (SELECT FROM runs WHERE completed_at IS NULL AND NOT has_leftovers AND id < %(first)s)
"""
_DOUBT_JUST_ENDED = """
    UPDATE runs SET has_leftovers = true
    WHERE status_code = 'succeeded' AND NOT output_expired AND NOT has_leftovers
      AND completed_at > clock_timestamp() - make_interval(secs => %(seconds)s)
"""

_MARK_SWEPT = "UPDATE run_attempts SET objects_swept = true WHERE id = ANY(%(ids)s)"


async def expired(transaction: Transaction, states: list[str], *, aside: list[UUID]) -> Fetched[OpenLease]:
    """Look for leases in these states that were not renewed in time; they can be fetched after the transaction.

    Those that are set `aside` are passed over.
    """
    return await transaction.later(_EXPIRED, {"states": states, "aside": aside}, row=OpenLease)


async def is_expired(transaction: Transaction, lease: UUID) -> bool:
    """Tell whether a locked lease has run out: it may have been renewed while we waited for the lock."""
    statement = "SELECT expires_at < clock_timestamp() FROM run_attempts WHERE id = %(lease)s"
    return await transaction.one_value(statement, {"lease": lease}, of=bool)


async def worker_name(transaction: Transaction, worker: UUID) -> str:
    """Return the name of a worker, for messages."""
    statement = "SELECT name FROM workers WHERE id = %(worker)s"
    return await transaction.one_value(statement, {"worker": worker}, of=str)


async def note_lapse(transaction: Transaction, run: UUID) -> None:
    """Count an offer of a locked run that nobody answered."""
    await transaction.run(_NOTE_LAPSE, {"run": run})


async def note_unanswered(transaction: Transaction, worker: UUID, offered_at: datetime) -> Fetched[UnansweredOffers]:
    """Count an offer that a worker left unanswered; `OFFERS_IN_A_ROW`, with no other answered between, keep it away.

    Those that lie in its hands at once count as one: it was silent once.
    """
    values = {
        "worker": worker,
        "offered_at": offered_at,
        "offers": OFFERS_IN_A_ROW,
        "row_seconds": ROW_SECONDS,
        "pause_seconds": PAUSE_SECONDS,
    }
    return await transaction.later(_NOTE_UNANSWERED, values, row=UnansweredOffers)


async def of_older_lives(transaction: Transaction, *, worker: UUID, instance: UUID) -> list[OpenLease]:
    """Return the open leases of a worker's earlier processes."""
    return await transaction.rows(_OF_OLDER_LIVES, {"worker": worker, "instance": instance}, row=OpenLease)


async def unswept(transaction: Transaction, after_seconds: float, *, aside: list[UUID]) -> list[UnsweptAttempt]:
    """Return attempts that ended without being the run's result and whose uploaded objects may still lie around."""
    return await transaction.rows(_UNSWEPT, {"after_seconds": after_seconds, "aside": aside}, row=UnsweptAttempt)


async def mark_swept(transaction: Transaction, attempts: list[UUID]) -> None:
    """Note that nothing of these attempts is left in storage."""
    await transaction.run(_MARK_SWEPT, {"ids": attempts})


async def with_leftovers(
    transaction: Transaction, after_seconds: float, *, aside: list[UUID]
) -> list[RunWithLeftovers]:
    """Return runs that ended so long ago and of which offers were forgotten that may have stored something."""
    values = {"after_seconds": after_seconds, "aside": aside}
    return await transaction.rows(_WITH_LEFTOVERS, values, row=RunWithLeftovers)


async def doubt_unfinished(transaction: Transaction, limit: int) -> int:
    """Note of up to so many unfinished runs that a forgotten attempt may have stored something; return of how many.

    Those that somebody else has locked are passed over.
    """
    return await transaction.change(_DOUBT_UNFINISHED, {"limit": limit})


async def is_undoubted(transaction: Transaction, first_id: UUID) -> bool:
    """Tell whether there are unfinished runs with smaller ids than this of which that is not noted yet."""
    return await transaction.one_value(_IS_UNDOUBTED, {"first": first_id}, of=bool)


async def doubt_just_ended(transaction: Transaction, seconds: float) -> None:
    """Note the same of runs that succeeded within the last `seconds`."""
    await transaction.run(_DOUBT_JUST_ENDED, {"seconds": seconds})


async def no_leftovers(transaction: Transaction, runs: list[UUID]) -> None:
    """Note that nothing of forgotten offers of these runs is left in storage."""
    await transaction.run(_NO_LEFTOVERS, {"ids": runs})
