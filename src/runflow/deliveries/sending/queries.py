"""Emptying the outbox, in SQL. All times are the database's, so server processes need not agree on the time.

A delivery is *due* when it is pending, its `next_attempt_at` has come, and no claim on it is alive. A claim is the
value that it wrote to `claimed_until`; whoever comes back with another value has lost it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.deliveries.sending.health import Health, SwitchOff
from runflow.deliveries.sending.outcome import Outcome
from runflow.deliveries.sending.schedule import Decision, GiveUp, Retry, Succeeded
from runflow.deliveries.sending.slots import Candidate
from runflow.ids import new_id

HOST = "coalesce(lower(substring(target_url from '^[A-Za-z]+://([^/?#]*)')), '')"
"""Host and port of a target. The index `deliveries_by_target` is on exactly this expression."""


# Jumps from one (organization, host) to the next along the index `deliveries_by_target` and takes the first few due of
# each, so the cost is O(targets): a million messages for one dead receiver cost as much as one. Ordered by `turn`:
# every target's first message comes before any target's second.
# Rows are compared as rows, and never by `host = …`: after an equality the planner may take an index on the time alone
# and read past the whole million (seen: 460 ms instead of 1).
_DUE = f"""
WITH RECURSIVE targets AS (
    (SELECT org_id, {HOST} AS host FROM deliveries WHERE status_code = 'pending' ORDER BY org_id, {HOST} LIMIT 1)
    UNION ALL
    SELECT following.org_id, following.host FROM targets CROSS JOIN LATERAL (
        SELECT org_id, {HOST} AS host FROM deliveries
        WHERE status_code = 'pending' AND (org_id, {HOST}) > (targets.org_id, targets.host)
        ORDER BY org_id, {HOST} LIMIT 1
    ) following
), found AS (
    SELECT due.id, targets.org_id, targets.host, due.size, due.turn, due.next_attempt_at
    FROM targets CROSS JOIN LATERAL (
        SELECT id, next_attempt_at, octet_length(payload) AS size,
               row_number() OVER (ORDER BY org_id, {HOST}, next_attempt_at) AS turn
        FROM deliveries
        WHERE status_code = 'pending'
          AND (org_id, {HOST}, next_attempt_at) > (targets.org_id, targets.host, '-infinity')
          AND (org_id, {HOST}, next_attempt_at) <= (targets.org_id, targets.host, now())
          AND (claimed_until IS NULL OR claimed_until <= now())
        ORDER BY org_id, {HOST}, next_attempt_at LIMIT %(each)s
    ) due
    WHERE targets.host <> ALL (CAST(%(full_hosts)s AS text[])) AND targets.org_id <> ALL (CAST(%(full_orgs)s AS uuid[]))
    ORDER BY due.turn, due.next_attempt_at LIMIT %(many)s
)
SELECT id, org_id, host, size FROM found ORDER BY turn, next_attempt_at
"""  # noqa: S608 - HOST is the constant above

_SECONDS_TO_NEXT = """
SELECT extract(epoch FROM min(next_attempt_at) - now())::double precision FROM deliveries
WHERE status_code = 'pending' AND next_attempt_at > now()
"""


@dataclass(frozen=True, slots=True)
class Due:
    """What is due, and how many seconds it is until the next attempt that is not due yet; None: nothing waits."""

    candidates: list[Candidate]
    seconds_to_next: float | None


async def due(
    transaction: Transaction, *, full_orgs: Sequence[UUID], full_hosts: Sequence[str], each: int, many: int
) -> Due:
    """Return at most `many` due deliveries, `each` per organization and host, of those that are not full."""
    values = {"full_orgs": list(full_orgs), "full_hosts": list(full_hosts), "each": each, "many": many}
    found = await transaction.later(_DUE, values, row=Candidate)
    seconds = await transaction.value(_SECONDS_TO_NEXT, of=float)
    return Due(await found.fetchall(), seconds)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send a delivery until `claimed_until`, and what to send. `attempt_number` counts from 1."""

    id: UUID
    org_id: UUID
    webhook_id: UUID | None
    target_url: str
    payload: bytes
    request_id: str | None
    attempt_number: int
    max_attempts: int
    claimed_until: datetime


_CLAIM = """
WITH free AS MATERIALIZED (
    SELECT id FROM deliveries
    WHERE id = ANY (CAST(%(ids)s AS uuid[])) AND status_code = 'pending' AND next_attempt_at <= now()
      AND (claimed_until IS NULL OR claimed_until <= now())
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET claimed_until = now() + make_interval(secs => %(seconds)s)
FROM free WHERE d.id = free.id
RETURNING d.id, d.org_id, d.webhook_id, d.target_url, d.payload, d.request_id, d.attempt_count + 1 AS attempt_number,
    d.max_attempts, d.claimed_until
"""


async def claim(transaction: Transaction, ids: Sequence[UUID], seconds: float) -> list[Claim]:
    """Claim those of these deliveries that nobody else took meanwhile."""
    return await transaction.rows(_CLAIM, {"ids": list(ids), "seconds": seconds}, row=Claim)


# The guard: a claim that lapsed and went to another process has another `claimed_until`.
_FINISH = """
WITH settled AS (
    UPDATE deliveries SET
        status_code = %(status_code)s,
        failure_reason_code = %(reason)s,
        failure_detail = %(detail)s,
        signing_secret_id = coalesce(CAST(%(secret_id)s AS uuid), signing_secret_id),
        attempt_count = attempt_count + 1,
        next_attempt_at = now() + make_interval(secs => CAST(%(retry_after)s AS double precision)),
        completed_at = CASE WHEN %(status_code)s <> 'pending' THEN now() END,
        claimed_until = NULL,
        updated_at = now()
    WHERE id = %(id)s AND status_code = 'pending' AND claimed_until = %(claimed_until)s
      AND attempt_count = %(attempt_number)s - 1
    RETURNING id, org_id, webhook_id, attempt_count, next_attempt_at
), used AS (
    SELECT id FROM callback_secrets WHERE id = ANY (CAST(%(secret_ids)s AS uuid[]))
      AND (last_used_at IS NULL OR last_used_at < now() - interval '1 second')
    FOR NO KEY UPDATE SKIP LOCKED
), noted AS (
    UPDATE callback_secrets s SET last_used_at = now() FROM used, settled WHERE s.id = used.id
)
INSERT INTO delivery_attempts
    (id, org_id, delivery_id, webhook_id, attempt_number, status_code, response_body, response_time_ms, error_message,
     next_retry_at)
SELECT %(attempt_id)s, org_id, id, webhook_id, attempt_count, %(http_status)s, %(body)s, %(elapsed_ms)s, %(message)s,
    next_attempt_at
FROM settled
"""


async def finish(
    transaction: Transaction, held: Claim, outcome: Outcome, decision: Decision, secret_ids: Sequence[UUID]
) -> bool:
    """Record an attempt and what follows from it. False: the claim was lost, and nothing was changed.

    `failure_reason_code` of a pending delivery is that of its last attempt. `secret_ids` name the callback secrets that
    signed, the current one first.
    """
    status, reason, detail, retry_after = _columns(decision)
    values = {
        "id": held.id,
        "claimed_until": held.claimed_until,
        "attempt_number": held.attempt_number,
        "attempt_id": new_id(),
        "status_code": status,
        "reason": reason,
        "detail": detail,
        "retry_after": retry_after,
        "secret_id": next(iter(secret_ids), None),
        "secret_ids": list(secret_ids),
        "http_status": outcome.status,
        "body": outcome.body,
        "elapsed_ms": outcome.elapsed_ms,
        "message": outcome.message,
    }
    return await transaction.change(_FINISH, values) > 0


def _columns(decision: Decision) -> tuple[str, str | None, str | None, float | None]:
    match decision:
        case Succeeded():
            return "succeeded", None, None, None
        case Retry(after_seconds, reason, detail):
            return "pending", reason.value, detail, after_seconds
        case GiveUp(reason, detail):
            return "failed", reason.value, detail, None


_RELEASE = """
UPDATE deliveries d SET claimed_until = NULL
FROM unnest(CAST(%(ids)s AS uuid[]), CAST(%(claims)s AS timestamptz[])) AS held(id, claimed_until)
WHERE d.id = held.id AND d.claimed_until = held.claimed_until
"""


async def release(transaction: Transaction, held: Sequence[Claim]) -> None:
    """Give claims back: others may send these deliveries at once."""
    if held:
        values = {"ids": [claim.id for claim in held], "claims": [claim.claimed_until for claim in held]}
        await transaction.run(_RELEASE, values)


# Many deliveries end at once: a healthy webhook is written once a second, not once a delivery.
_SUCCEEDED = """
UPDATE webhooks SET failing_since = NULL, failed_attempt_count = 0, last_triggered_at = now()
WHERE id = %(id)s AND (failing_since IS NOT NULL OR last_triggered_at IS NULL
                    OR last_triggered_at < now() - interval '1 second')
"""


async def note_success(transaction: Transaction, webhook_id: UUID) -> None:
    """Write down that an attempt succeeded."""
    await transaction.run(_SUCCEEDED, {"id": webhook_id})


_FAILED = """
UPDATE webhooks SET failing_since = coalesce(failing_since, now()), failed_attempt_count = failed_attempt_count + 1,
    last_triggered_at = now()
WHERE id = %(id)s AND EXISTS (
    SELECT FROM deliveries d
    WHERE d.id = %(delivery_id)s AND d.status_code = 'pending' AND d.claimed_until = %(claimed_until)s
)
RETURNING failed_attempt_count, extract(epoch FROM now() - failing_since)::double precision AS failing_seconds,
    disabled_at IS NOT NULL AS is_off
"""


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A webhook after one more failure, which `_FAILED` counted."""

    failed_attempt_count: int
    failing_seconds: float
    is_off: bool


@dataclass(frozen=True, slots=True)
class Noted:
    """A webhook's health after a failure, and whether it is off already."""

    health: Health
    is_off: bool


async def note_failure(transaction: Transaction, webhook_id: UUID, held: Claim) -> Noted | None:
    """Write down that the attempt of a claim failed. None: the webhook was deleted, or the claim is lost."""
    values = {"id": webhook_id, "delivery_id": held.id, "claimed_until": held.claimed_until}
    row = await transaction.first(_FAILED, values, row=FailureRow)
    return None if row is None else Noted(Health(row.failed_attempt_count, row.failing_seconds), row.is_off)


_SWITCH_OFF = """
UPDATE webhooks SET disabled_at = now(), disabled_reason_code = %(code)s, disabled_reason = %(reason)s,
    updated_at = now()
WHERE id = %(id)s AND disabled_at IS NULL
"""


async def switch_off(transaction: Transaction, webhook_id: UUID, why: SwitchOff) -> None:
    """Disable a webhook; what waits for it fails."""
    await transaction.run(_SWITCH_OFF, {"id": webhook_id, "code": why.code.value, "reason": why.reason})
    await give_up_waiting(transaction, webhook_id, "The webhook was switched off before this message arrived.")


# What is being sent right now ends by itself: its record must tell what came of it.
_GIVE_UP = """
UPDATE deliveries SET status_code = 'failed', failure_reason_code = coalesce(failure_reason_code, 'exhausted'),
    failure_detail = CAST(%(detail)s AS text) || coalesce(' The last attempt: ' || failure_detail, ''),
    next_attempt_at = NULL, claimed_until = NULL, completed_at = now(), updated_at = now()
WHERE webhook_id = %(id)s AND status_code = 'pending' AND (claimed_until IS NULL OR claimed_until <= now())
"""


async def give_up_waiting(transaction: Transaction, webhook_id: UUID, detail: str) -> None:
    """Fail every message that waits for a webhook; `detail` says why. Lock the webhook first."""
    await transaction.run(_GIVE_UP, {"id": webhook_id, "detail": detail})


_READDRESS = """
UPDATE deliveries SET target_url = %(url)s, updated_at = now() WHERE webhook_id = %(id)s AND status_code = 'pending'
"""


async def readdress_waiting(transaction: Transaction, webhook_id: UUID, url: str) -> None:
    """Send what waits for a webhook to its new URL. Lock the webhook first."""
    await transaction.run(_READDRESS, {"id": webhook_id, "url": url})
