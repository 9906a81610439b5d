"""What the database holds of a run in the queue: its lease, its lane, the messages of its end."""

from dataclasses import dataclass
from typing import Any

from runflow.web.services import Services


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """How many runs wait in a lane and how many of it run."""

    depth: int
    running: int


@dataclass(frozen=True, slots=True)
class Told:
    """A message that was put into the outbox."""

    event_type_code: str
    payload: bytes


async def expire(services: Services, lease: dict[str, Any]) -> None:
    """Let a lease run out now."""
    async with services.db.system() as transaction:
        statement = "UPDATE run_attempts SET expires_at = now() - interval '1 second' WHERE id = %(id)s"
        await transaction.run(statement, {"id": lease["id"]})


async def lane_counts(services: Services, run_id: str) -> tuple[int, int]:
    async with services.db.system() as transaction:
        statement = "SELECT l.depth, l.running FROM lanes l JOIN runs r ON r.lane_id = l.id WHERE r.id = %(id)s"
        row = await transaction.one(statement, {"id": run_id}, row=LaneCounts)
    return row.depth, row.running


async def deliveries(services: Services, run_id: str) -> list[Told]:
    async with services.db.system() as transaction:
        statement = "SELECT event_type_code, payload FROM deliveries WHERE run_id = %(id)s"
        return await transaction.rows(statement, {"id": run_id}, row=Told)
