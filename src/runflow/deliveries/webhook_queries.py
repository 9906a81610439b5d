"""What deliveries change of their webhook, in SQL.

Locks are taken in one order everywhere: webhook, then deliveries.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from runflow.deliveries.health import Health, SwitchOff
from runflow.deliveries.queries import Claim

# Many deliveries end at once: a healthy webhook is written once a second, not once a delivery.
_SUCCEEDED = text("""
UPDATE webhooks SET failing_since = NULL, failed_attempt_count = 0, last_triggered_at = now()
WHERE id = :id AND (failing_since IS NOT NULL OR last_triggered_at IS NULL
                    OR last_triggered_at < now() - interval '1 second')
""")


async def note_success(connection: AsyncConnection, webhook_id: UUID) -> None:
    """Write down that an attempt succeeded."""
    await connection.execute(_SUCCEEDED, {"id": webhook_id})


_FAILED = text("""
UPDATE webhooks SET failing_since = coalesce(failing_since, now()), failed_attempt_count = failed_attempt_count + 1,
    last_triggered_at = now()
WHERE id = :id AND EXISTS (
    SELECT FROM deliveries d
    WHERE d.id = :delivery_id AND d.status_code = 'pending' AND d.claimed_until = :claimed_until
)
RETURNING failed_attempt_count, extract(epoch FROM now() - failing_since)::double precision, disabled_at IS NOT NULL
""")


@dataclass(frozen=True, slots=True)
class Noted:
    """A webhook's health after a failure, and whether it is off already."""

    health: Health
    is_off: bool


async def note_failure(connection: AsyncConnection, webhook_id: UUID, held: Claim) -> Noted | None:
    """Write down that the attempt of a claim failed. None: the webhook was deleted, or the claim is lost."""
    row = (await connection.execute(_FAILED, {"id": webhook_id, "delivery_id": held.id,
                                              "claimed_until": held.claimed_until})).one_or_none()  # fmt: skip
    return None if row is None else Noted(Health(row[0], row[1]), row[2])


_SWITCH_OFF = text("""
UPDATE webhooks SET disabled_at = now(), disabled_reason_code = :code, disabled_reason = :reason, updated_at = now()
WHERE id = :id AND disabled_at IS NULL
""")


async def switch_off(connection: AsyncConnection, webhook_id: UUID, why: SwitchOff) -> None:
    """Disable a webhook; what waits for it fails."""
    await connection.execute(_SWITCH_OFF, {"id": webhook_id, "code": why.code.value, "reason": why.reason})
    await give_up_waiting(connection, webhook_id, "The webhook was switched off before this message arrived.")


# What is being sent right now ends by itself: its record must tell what came of it.
_GIVE_UP = text("""
UPDATE deliveries SET status_code = 'failed', failure_reason_code = coalesce(failure_reason_code, 'exhausted'),
    failure_detail = CAST(:detail AS text) || coalesce(' The last attempt: ' || failure_detail, ''),
    next_attempt_at = NULL, claimed_until = NULL, completed_at = now(), updated_at = now()
WHERE webhook_id = :id AND status_code = 'pending' AND (claimed_until IS NULL OR claimed_until <= now())
""")


async def give_up_waiting(connection: AsyncConnection, webhook_id: UUID, detail: str) -> None:
    """Fail every message that waits for a webhook; `detail` says why. Lock the webhook first."""
    await connection.execute(_GIVE_UP, {"id": webhook_id, "detail": detail})


_READDRESS = text("""
UPDATE deliveries SET target_url = :url, updated_at = now() WHERE webhook_id = :id AND status_code = 'pending'
""")


async def readdress_waiting(connection: AsyncConnection, webhook_id: UUID, url: str) -> None:
    """Send what waits for a webhook to its new URL. Lock the webhook first."""
    await connection.execute(_READDRESS, {"id": webhook_id, "url": url})
