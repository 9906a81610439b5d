"""A unit of work: what joins it commits with it, what fails in it leaves the rest, what outlives it is on its own."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from runflow.accounts.organizations import queries as orgs
from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.db.transaction import Violation
from runflow.db.unit_of_work import current_unit
from runflow.ids import new_id

ADD = (
    "INSERT INTO api_keys (id, org_id, name, key_hash, key_prefix, scopes) "
    "VALUES (%(id)s, %(org)s, %(name)s, %(hash)s, 'x', '{}')"
)


@pytest.fixture
async def org(db: Database) -> UUID:
    org_id = new_id()
    async with db.system() as transaction:
        await orgs.add(transaction, org_id=org_id, slug=f"org-{org_id.hex[-12:]}", name="Test")
    return org_id


def values(org: UUID, name: str) -> dict[str, object]:
    return {"id": new_id(), "org": org, "name": name, "hash": new_id().bytes}


async def names(db: Database, org: UUID) -> set[str]:
    async with db.tenant(org) as transaction:
        return set(await transaction.values("SELECT name FROM api_keys", of=str))


async def test_what_joins_commits_together_and_is_seen_by_nobody_before(db: Database, org: UUID) -> None:
    async with db.unit_of_work(org):
        async with db.tenant(org) as transaction:
            await transaction.run(ADD, values(org, "first"))
        async with db.tenant(org) as transaction:
            await transaction.run(ADD, values(org, "second"))
            assert await transaction.value("SELECT count(*) FROM api_keys", of=int) == 2
        async with db.system() as transaction:
            seen = "SELECT id FROM api_keys WHERE org_id = %(org)s"
            assert await transaction.values(seen, {"org": org}, of=UUID) == []
    assert await names(db, org) == {"first", "second"}


@dataclass(frozen=True, slots=True)
class Document:
    org: UUID
    document: dict[str, Any]


async def test_rows_fetched_after_a_joined_transaction_are_there(db: Database, org: UUID) -> None:
    async with db.unit_of_work(org):
        async with db.tenant(org) as transaction:
            statement = "SELECT current_org() AS org, '{\"a\": [1]}'::json AS document"
            later = await transaction.later(statement, row=Document)
        assert await later.fetchall() == [Document(org, {"a": [1]})]


async def test_an_exception_undoes_everything(db: Database, org: UUID) -> None:
    with pytest.raises(RuntimeError):
        async with db.unit_of_work(org):
            async with db.tenant(org) as transaction:
                await transaction.run(ADD, values(org, "first"))
            raise RuntimeError
    assert await names(db, org) == set()


async def test_a_cancelled_unit_undoes_everything_and_gives_its_connection_back(db: Database, org: UUID) -> None:
    written = asyncio.Event()

    async def work() -> None:
        async with db.unit_of_work(org):
            async with db.tenant(org) as transaction:
                await transaction.run(ADD, values(org, "first"))
            written.set()
            await asyncio.Event().wait()

    for _ in range(20):
        written.clear()
        task = asyncio.create_task(work())
        await written.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await names(db, org) == set()


async def test_an_abandoned_unit_undoes_everything(db: Database, org: UUID) -> None:
    async with db.unit_of_work(org) as unit:
        async with db.tenant(org) as transaction:
            await transaction.run(ADD, values(org, "first"))
        unit.abandon()
    assert await names(db, org) == set()


@pytest.mark.parametrize("waited_for", [False, True])
async def test_one_that_fails_leaves_the_others(db: Database, org: UUID, waited_for: bool) -> None:
    """As with transactions of their own: a caught refusal must not spoil what comes before and after it."""
    taken = values(org, "first")
    async with db.unit_of_work(org):
        async with db.tenant(org) as transaction:
            await transaction.run(ADD, taken)
        with pytest.raises(Violation, match="duplicate key"):
            async with db.tenant(org) as transaction:
                await transaction.run(ADD, values(org, "lost"))
                if waited_for:
                    await transaction.change(ADD, taken)
                else:
                    await transaction.run(ADD, taken)
        async with db.tenant(org) as transaction:
            await transaction.run(ADD, values(org, "last"))
    assert await names(db, org) == {"first", "last"}


async def test_a_statement_that_fails_unwaited_before_a_savepoint_is_not_its_own(db: Database, org: UUID) -> None:
    taken = values(org, "first")
    with pytest.raises(Violation, match="duplicate key"):
        async with db.unit_of_work(org) as unit:
            await unit.transaction.run(ADD, taken)
            await unit.transaction.run(ADD, taken)
            with contextlib.suppress(RuntimeError):
                async with db.tenant(org):
                    raise RuntimeError
    assert await names(db, org) == set()


async def test_another_organization_is_never_joined(db: Database, org: UUID) -> None:
    other = new_id()
    async with db.unit_of_work(org):
        async with db.tenant(other) as transaction:
            assert await transaction.value("SELECT current_org()", of=UUID) == other
        async with db.tenant(org) as transaction:
            assert await transaction.value("SELECT current_org()", of=UUID) == org


async def test_tasks_of_a_request_take_turns_and_one_may_nest(db: Database, org: UUID) -> None:
    async def add(name: str) -> None:
        async with db.tenant(org) as outer:
            await outer.run(ADD, values(org, name))
            async with db.tenant(org) as inner:
                await inner.run(ADD, values(org, name + " again"))

    async with db.unit_of_work(org), asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(add(str(number)))
    assert len(await names(db, org)) == 10


async def test_a_task_that_outlives_the_request_is_on_its_own(db: Database, org: UUID) -> None:
    ended = asyncio.Event()

    async def later() -> None:
        await ended.wait()
        assert current_unit() is None
        async with db.tenant(org) as transaction:
            await transaction.run(ADD, values(org, "later"))

    async with db.unit_of_work(org) as unit:
        task = asyncio.create_task(later())
        unit.abandon()
    ended.set()
    await task
    assert await names(db, org) == {"later"}


async def test_hints_are_held_back_until_the_end(db: Database, org: UUID) -> None:
    hub = Hub(db.system_url)
    seen: list[str] = []
    hub.on("run", seen.append)
    async with db.unit_of_work(org):
        hub.publish("run", "a")
        assert seen == []
    assert seen == ["a"]
    hub.publish("run", "b")
    assert seen == ["a", "b"]


async def test_units_of_one_organization_keep_nobody_else_waiting(db: Database, org: UUID) -> None:
    """A unit lasts as long as its request: many slow ones must not take what others need."""
    other, held, rest = new_id(), asyncio.Event(), asyncio.Event()
    waiting = 0

    async def slow() -> None:
        nonlocal waiting
        waiting += 1
        async with db.unit_of_work(org):
            held.set()
            await rest.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(slow())
        await held.wait()
        while waiting < 20:
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            async with db.tenant(org):
                pass
            async with db.unit_of_work(other), db.tenant(other):
                pass
        rest.set()
