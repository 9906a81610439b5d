from uuid import UUID

from runflow.deliveries.retention import remove_old_deliveries
from runflow.deliveries.sending import queries
from runflow.deliveries.sending.outcome import FailureReason, Outcome
from runflow.deliveries.sending.schedule import GiveUp
from tests.deliveries.outbox import Outbox


async def test_what_ended_long_ago_goes_with_its_attempts_and_the_rest_stays(outbox: Outbox) -> None:
    old, young, waiting = [await outbox.add("https://h.example/") for _ in range(3)]
    bad = Outcome(1, 500, "", FailureReason.HTTP_STATUS, "no")
    async with outbox.db.system() as transaction:
        for held in await queries.claim(transaction, [old, young], 30):
            assert await queries.finish(transaction, held, bad, GiveUp(FailureReason.EXHAUSTED, "no"), ())
        ages = """UPDATE deliveries SET created_at = now() - interval '30 days',
            completed_at = CASE WHEN id = %(old)s THEN now() - interval '8 days' ELSE completed_at END"""
        await transaction.run(ages, {"old": old})
    async with outbox.db.system() as transaction:
        assert await remove_old_deliveries(transaction, days=7) == 1
        assert await remove_old_deliveries(transaction, days=7) == 0
        left = set(await transaction.values("SELECT id FROM deliveries", of=UUID))
        tried = set(await transaction.values("SELECT delivery_id FROM delivery_attempts", of=UUID))
    assert (left, tried) == ({young, waiting}, {young})


async def test_a_sweep_takes_bounded_portions(outbox: Outbox) -> None:
    for _ in range(5):
        await outbox.add("https://h.example/")
    async with outbox.db.system() as transaction:
        ended = "UPDATE deliveries SET status_code = 'failed', completed_at = now() - interval '8 days'"
        await transaction.run(ended)
        assert [await remove_old_deliveries(transaction, 7, most=2) for _ in range(4)] == [2, 2, 1, 0]
