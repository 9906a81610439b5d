import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import IntegrityError
from sqlalchemy import URL

from runflow.deliveries.outbox import insert
from runflow.deliveries.sending import queries
from runflow.deliveries.sending.outcome import FailureReason, Outcome
from runflow.deliveries.sending.queries import Claim
from runflow.deliveries.sending.schedule import GiveUp, Retry, Succeeded
from runflow.deliveries.sending.slots import Candidate
from runflow.ids import new_id
from tests.deliveries.outbox import ORG, Outbox

OK = Outcome(12, 200, "thanks")
BAD = Outcome(15, 500, "oh no", FailureReason.HTTP_STATUS, "h answered with HTTP status 500.")


async def due(outbox: Outbox, **options: Any) -> list[Candidate]:
    async with outbox.db.system() as transaction:
        found = await queries.due(
            transaction, **{"full_orgs": [], "full_hosts": [], "each": 10, "many": 100, **options}
        )
    return found.candidates


async def claim(outbox: Outbox, *ids: Any, seconds: float = 30) -> list[Claim]:
    async with outbox.db.system() as transaction:
        return await queries.claim(transaction, ids, seconds)


async def finish(outbox: Outbox, held: Claim, outcome: Outcome, decision: Any) -> bool:
    async with outbox.db.system() as transaction:
        return await queries.finish(transaction, held, outcome, decision, ())


async def test_what_was_inserted_is_due_and_can_be_claimed_once(outbox: Outbox) -> None:
    made = await outbox.add("https://Hooks.example:8443/x?y", payload=b"\x00\xff", request_id="req", max_attempts=3)
    assert await due(outbox) == [Candidate(made, ORG, "hooks.example:8443", 2)]
    (held,) = await claim(outbox, made)
    assert (held.id, held.org_id, held.target_url) == (made, ORG, "https://Hooks.example:8443/x?y")
    assert (held.payload, held.request_id, held.attempt_number, held.max_attempts) == (b"\x00\xff", "req", 1, 3)
    assert await due(outbox) == []
    assert await claim(outbox, made) == []


async def test_a_rolled_back_completion_leaves_no_delivery(outbox: Outbox) -> None:
    with pytest.raises(ZeroDivisionError):
        async with outbox.db.system() as transaction:
            await insert(
                transaction, org_id=ORG, kind_code="callback", event_type_code="run.completed",
                target_url="https://h.example/", payload=b"{}", run_id=new_id(),
            )  # fmt: skip
            raise ZeroDivisionError
    assert await due(outbox) == []


async def test_one_delivery_of_a_run_to_a_target_at_a_time(outbox: Outbox) -> None:
    run = new_id()
    made = await outbox.add("https://h.example/", run_id=run)
    with pytest.raises(IntegrityError):
        await outbox.add("https://h.example/", run_id=run)
    (held,) = await claim(outbox, made)
    assert await finish(outbox, held, OK, Succeeded())
    await outbox.add("https://h.example/", run_id=run)


async def test_success(outbox: Outbox) -> None:
    made = await outbox.add("https://h.example/")
    (held,) = await claim(outbox, made)
    assert await finish(outbox, held, OK, Succeeded())
    row, (attempt,) = await outbox.delivery(made), await outbox.attempts(made)
    assert (row.status_code, row.attempt_count, row.failure_reason_code) == ("succeeded", 1, None)
    assert row.completed_at is not None
    assert (row.next_attempt_at, row.claimed_until) == (None, None)
    assert (attempt.org_id, attempt.attempt_number, attempt.status_code) == (ORG, 1, 200)
    assert (attempt.response_body, attempt.response_time_ms, attempt.error_message) == ("thanks", 12, None)


async def test_a_retry_waits_for_its_time(outbox: Outbox) -> None:
    made = await outbox.add("https://h.example/")
    (held,) = await claim(outbox, made)
    assert await finish(outbox, held, BAD, Retry(60, FailureReason.HTTP_STATUS, "500"))
    row = await outbox.delivery(made)
    assert (row.status_code, row.failure_reason_code, row.failure_detail) == ("pending", "http_status", "500")
    assert row.next_attempt_at is not None and row.next_attempt_at - row.updated_at == timedelta(seconds=60)
    assert row.completed_at is None
    assert await due(outbox) == []
    async with outbox.db.system() as transaction:
        assert (
            await queries.due(transaction, full_orgs=[], full_hosts=[], each=1, many=1)
        ).seconds_to_next == pytest.approx(45, abs=15)


async def test_given_up(outbox: Outbox) -> None:
    made = await outbox.add("https://h.example/")
    (held,) = await claim(outbox, made)
    assert await finish(outbox, held, BAD, GiveUp(FailureReason.EXHAUSTED, "no luck"))
    row = await outbox.delivery(made)
    assert (row.status_code, row.failure_reason_code, row.failure_detail) == ("failed", "exhausted", "no luck")
    assert (row.next_attempt_at, row.claimed_until) == (None, None)
    assert row.completed_at is not None


async def test_a_lapsed_claim_is_taken_over_and_its_old_holder_changes_nothing(outbox: Outbox) -> None:
    made = await outbox.add("https://h.example/")
    (old,) = await claim(outbox, made, seconds=0)
    (new,) = await claim(outbox, made)
    assert new.claimed_until > old.claimed_until
    assert not await finish(outbox, old, BAD, GiveUp(FailureReason.EXHAUSTED, "late"))
    assert await outbox.attempts(made) == []
    assert await finish(outbox, new, OK, Succeeded())
    assert not await finish(outbox, new, OK, Succeeded())
    assert not await finish(outbox, replace(new, attempt_number=2), OK, Succeeded())
    assert [attempt.status_code for attempt in await outbox.attempts(made)] == [200]


async def test_a_lapsed_claim_that_nobody_took_can_still_be_finished(outbox: Outbox) -> None:
    made = await outbox.add("https://h.example/")
    (held,) = await claim(outbox, made, seconds=0)
    assert await finish(outbox, held, OK, Succeeded())


async def test_release_gives_back_claims_that_are_still_held(outbox: Outbox) -> None:
    first, second = await outbox.add("https://h.example/"), await outbox.add("https://h.example/")
    (released,) = await claim(outbox, first)
    (lost,) = await claim(outbox, second, seconds=0)
    (held,) = await claim(outbox, second)
    async with outbox.db.system() as transaction:
        await queries.release(transaction, [released, lost])
        await queries.release(transaction, [])
    assert [found.id for found in await due(outbox)] == [first]
    assert await finish(outbox, held, OK, Succeeded())


async def test_concurrent_claims_share_without_waiting(outbox: Outbox) -> None:
    ids = [await outbox.add("https://h.example/") for _ in range(20)]
    taken = await asyncio.gather(*(claim(outbox, *ids) for _ in range(4)))
    assert sorted(held.id for part in taken for held in part) == sorted(ids)


async def test_every_target_comes_before_any_targets_second_message(outbox: Outbox) -> None:
    other = new_id()
    flood = [await outbox.add("https://flood.example/") for _ in range(30)]
    late = await outbox.add("https://late.example/")
    foreign = await outbox.add("https://flood.example/", org_id=other)
    found = await due(outbox, many=6, each=4)
    assert {candidate.id for candidate in found[:3]} == {flood[0], late, foreign}
    assert [candidate.id for candidate in found[3:]] == flood[1:4]
    assert [c.id for c in await due(outbox, full_hosts=["flood.example"])] == [late]
    assert [c.id for c in await due(outbox, full_orgs=[ORG])] == [foreign]


async def test_strange_targets_are_not_forgotten(outbox: Outbox) -> None:
    ids = {await outbox.add(url) for url in ("", "nonsense", "://", "HTTPS://A", "http://b?x")}
    assert {candidate.id for candidate in await due(outbox)} == ids


async def test_a_flood_for_a_dead_receiver_costs_the_search_nothing(outbox: Outbox, owner_url: URL) -> None:
    fill = """
        INSERT INTO deliveries
            (id, run_id, org_id, kind_code, event_type_code, target_url, payload, max_attempts, next_attempt_at)
        SELECT gen_random_uuid(), gen_random_uuid(), %(org)s, 'callback', 'run.completed', 'https://dead.example/', '',
               8, now()
        FROM generate_series(1, 150000)"""
    async with outbox.db.system() as transaction:
        await transaction.run(fill, {"org": ORG})
    alive = await outbox.add("https://alive.example/")
    # With statistics the planner believes that every row has the target that nearly every row has; from about this many
    # rows on it then prefers the index on the time alone, if the query lets it.
    dsn = owner_url.set(drivername="postgresql", database="outbox").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("VACUUM ANALYZE deliveries")
    values: dict[str, Any] = {"full_orgs": [], "full_hosts": ["dead.example"], "each": 16, "many": 10}
    async with outbox.db.system() as transaction:
        explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + queries._DUE
        (plan,) = await transaction.one_value(explain, values, of=list[Any])
        assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 100
        assert [found.id for found in (await queries.due(transaction, **values)).candidates] == [alive]
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("TRUNCATE deliveries CASCADE")
