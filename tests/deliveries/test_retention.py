from sqlalchemy import text

from runflow.deliveries.retention import remove_old_deliveries
from runflow.deliveries.sending import queries
from runflow.deliveries.sending.outcome import FailureReason, Outcome
from runflow.deliveries.sending.schedule import GiveUp
from tests.deliveries.outbox import Outbox


async def test_what_ended_long_ago_goes_with_its_attempts_and_the_rest_stays(outbox: Outbox) -> None:
    old, young, waiting = [await outbox.add("https://h.example/") for _ in range(3)]
    bad = Outcome(1, 500, "", FailureReason.HTTP_STATUS, "no")
    async with outbox.db.system() as connection:
        for held in await queries.claim(connection, [old, young], 30):
            assert await queries.finish(connection, held, bad, GiveUp(FailureReason.EXHAUSTED, "no"), ())
        ages = text("""UPDATE deliveries SET created_at = now() - interval '30 days',
            completed_at = CASE WHEN id = :old THEN now() - interval '8 days' ELSE completed_at END""")
        await connection.execute(ages, {"old": old})
    async with outbox.db.system() as connection:
        assert await remove_old_deliveries(connection, days=7) == 1
        assert await remove_old_deliveries(connection, days=7) == 0
        left = {row.id for row in await connection.execute(text("SELECT id FROM deliveries"))}
        tried = {row.delivery_id for row in await connection.execute(text("SELECT delivery_id FROM delivery_attempts"))}
    assert (left, tried) == ({young, waiting}, {young})


async def test_a_sweep_takes_bounded_portions(outbox: Outbox) -> None:
    for _ in range(5):
        await outbox.add("https://h.example/")
    async with outbox.db.system() as connection:
        ended = text("UPDATE deliveries SET status_code = 'failed', completed_at = now() - interval '8 days'")
        await connection.execute(ended)
        assert [await remove_old_deliveries(connection, 7, most=2) for _ in range(4)] == [2, 2, 1, 0]
