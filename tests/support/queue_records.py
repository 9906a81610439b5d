"""What the database holds of a run in the queue: its lease, its lane, the messages of its end."""

from typing import Any

from sqlalchemy import text

from runflow.web.services import Services


async def expire(services: Services, lease: dict[str, Any]) -> None:
    """Let a lease run out now."""
    async with services.db.system() as connection:
        await connection.execute(
            text("UPDATE run_attempts SET expires_at = now() - interval '1 second' WHERE id = :id"), {"id": lease["id"]}
        )


async def lane_counts(services: Services, run_id: str) -> tuple[int, int]:
    async with services.db.system() as connection:
        statement = text("SELECT l.depth, l.running FROM lanes l JOIN runs r ON r.lane_id = l.id WHERE r.id = :id")
        row = (await connection.execute(statement, {"id": run_id})).one()
    return row.depth, row.running


async def deliveries(services: Services, run_id: str) -> list[Any]:
    async with services.db.system() as connection:
        statement = text("SELECT event_type_code, payload FROM deliveries WHERE run_id = :id")
        return list(await connection.execute(statement, {"id": run_id}))
