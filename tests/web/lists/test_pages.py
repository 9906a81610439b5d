from datetime import timedelta
from itertools import chain
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runflow.errors import InvalidCursor, InvalidField, InvalidSort
from runflow.web.lists import ListQuery, Page, build, page
from tests.web.lists.conftest import Samples
from tests.web.lists.rows import keyed_rows, sample_rows, sample_spec, sample_table

_FIELDS = [field.name for field in sample_spec(sample_table("anywhere")).fields]
_SORTS = st.lists(st.sampled_from(_FIELDS), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([f"{name}:asc", f"{name}:desc"]) for name in names)).map(",".join)
)


def _in_order(rows: list[dict[str, Any]], sort_by: str) -> list[Any]:
    """The ids in the documented order: missing values largest, the id last in the direction of the key before it."""
    keys = [(part.partition(":")[0], part.endswith(":desc")) for part in sort_by.split(",")]
    ordered = rows
    for name, descending in reversed([*keys, ("id", keys[-1][1])]):
        ordered = sorted(ordered, key=lambda row: (row[name] is None, row[name]), reverse=descending)
    return [row["id"] for row in ordered]


class _Walker:
    """Asks for pages as a client would: with the parameters it began with and the cursors it was given."""

    def __init__(self, samples: Samples, connection: sa.Connection, **parameters: Any) -> None:
        self.samples, self.connection, self.parameters = samples, connection, parameters

    def get(self, pq: str | None = None, *, from_prev: bool = False) -> tuple[list[Any], Page[Any]]:
        query = ListQuery(pq=pq, from_prev=from_prev, **self.parameters)
        rows = keyed_rows(self.connection, build(self.samples.spec, query))
        found = page(self.samples.spec, query, rows)
        assert len(found.rows) <= query.limit
        return [row.id for row in found.rows], found

    def forwards(self) -> list[list[Any]]:
        ids, found = self.get()
        pages = [ids]
        while found.next is not None:
            ids, found = self.get(found.next)
            pages.append(ids)
        return pages

    def backwards(self) -> list[list[Any]]:
        ids, found = self.get(from_prev=True)
        pages = [ids]
        while found.previous is not None:
            ids, found = self.get(found.previous, from_prev=True)
            pages.insert(0, ids)
        return pages


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(sort_by=_SORTS, limit=st.integers(3, 40))
def test_walking_either_way_meets_every_row_once_in_order(
    samples: Samples, connection: sa.Connection, sort_by: str, limit: int
) -> None:
    walker = _Walker(samples, connection, sort_by=sort_by, limit=limit)
    expected = _in_order(samples.rows, sort_by)
    forwards, backwards = walker.forwards(), walker.backwards()
    assert list(chain(*forwards)) == expected
    assert list(chain(*backwards)) == expected
    assert all(len(ids) == limit for ids in forwards[:-1])
    assert all(len(ids) == limit for ids in backwards[1:])


@pytest.mark.parametrize("sort_by", ["created_at:desc", "completed_at:desc", "completed_at:asc", "note:asc,size:desc"])
def test_there_and_back_again(samples: Samples, connection: sa.Connection, sort_by: str) -> None:
    walker = _Walker(samples, connection, sort_by=sort_by, limit=25)
    first_ids, first = walker.get()
    assert (first.first, first.previous) == (None, None)
    second_ids, second = walker.get(first.next)
    third_ids, third = walker.get(second.next)
    fourth_ids, fourth = walker.get(third.next)
    assert [len(ids) for ids in (first_ids, second_ids, third_ids, fourth_ids)] == [25, 25, 25, 15]
    assert fourth.next is None
    assert walker.get(fourth.previous, from_prev=True)[0] == third_ids
    assert walker.get(fourth.previous)[0] == third_ids, "a previous cursor walks backwards by itself"
    back_ids, back = walker.get(second.previous, from_prev=True)
    assert back_ids == first_ids
    assert (back.first, back.previous) == (None, None)
    assert walker.get(back.next)[0] == second_ids
    assert walker.get(third.first)[0] == first_ids
    last_ids, last = walker.get(from_prev=True)
    assert last.next is None
    assert last_ids == _in_order(samples.rows, sort_by)[-25:]


@pytest.mark.parametrize(
    "sort_by",
    ["created_at:desc", "created_at:asc", "completed_at:asc", "stage_code:desc,steps:asc", "note:asc,id:desc"],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_rows_that_come_and_go_while_paging_move_no_other(
    samples: Samples, connection: sa.Connection, sort_by: str, backwards: bool
) -> None:
    walker = _Walker(samples, connection, sort_by=sort_by, limit=7)
    coming = iter(sample_rows(count=200, seed=11))
    table = samples.table

    def walked(keys: list[Any]) -> list[Any]:
        return keys[::-1] if backwards else keys

    seen: list[Any] = []
    gone: set[Any] = set()
    ids, found = walker.get(from_prev=backwards)
    ids = walked(ids)
    seen += ids
    while (cursor := found.previous if backwards else found.next) is not None:
        connection.execute(table.insert(), [next(coming) | {"id": uuid4()} for _ in range(5)])
        # The very row that the cursor stands at, and one that was not reached yet.
        order = walked(_in_order(samples.rows, sort_by))
        ahead = [key for key in order if key not in seen and key not in gone]
        leaving = {ids[-1], *ahead[3:4]}
        gone |= leaving
        connection.execute(table.delete().where(table.c.id.in_(leaving)))
        ids, found = walker.get(cursor, from_prev=backwards)
        ids = walked(ids)
        seen += ids
        if not ids or len(seen) > 400:
            break
    assert len(seen) == len(set(seen)), "no row twice"
    originals = {row["id"] for row in samples.rows}
    assert originals - gone <= set(seen), "no row that stayed is lost"
    order = walked(_in_order(samples.rows, sort_by))
    assert [key for key in seen if key in originals] == [key for key in order if key in set(seen)]


def test_a_page_left_empty_by_deletions_still_leads_back(samples: Samples, connection: sa.Connection) -> None:
    walker = _Walker(samples, connection, sort_by="created_at:asc", limit=80)
    ids, found = walker.get()
    connection.execute(samples.table.delete().where(samples.table.c.id.not_in(ids)))
    nothing, empty = walker.get(found.next)
    assert (nothing, empty.next) == ([], None)
    assert walker.get(empty.previous, from_prev=True)[0] == ids
    connection.execute(samples.table.delete().where(samples.table.c.id.in_(ids[:40])))
    middle = walker.get()[0]
    assert middle == ids[40:]
    _, second = _Walker(samples, connection, sort_by="created_at:asc", limit=10).get()
    connection.execute(samples.table.delete().where(samples.table.c.id.in_(ids[40:50])))
    small = _Walker(samples, connection, sort_by="created_at:asc", limit=10)
    next_ids, third = small.get(second.next)
    nothing, empty = small.get(third.previous, from_prev=True)
    assert (nothing, empty.previous, empty.first) == ([], None, None)
    assert small.get(empty.next)[0] == next_ids


def test_filter_and_base_conditions_hold_on_every_page(samples: Samples, connection: sa.Connection) -> None:
    table = samples.table
    base = sa.select(table.c.name).where(table.c.is_public)
    query = ListQuery(q="stage_code != execute OR steps > 0", sort_by="stage_code:desc", limit=4)
    names: list[str] = []
    pq: str | None = None
    while True:
        query = ListQuery(q=query.q, sort_by=query.sort_by, limit=query.limit, pq=pq)
        found = page(samples.spec, query, keyed_rows(connection, build(samples.spec, query, base)))
        names += [row.name for row in found.rows]
        pq = found.next
        if pq is None:
            break
    expected = [
        row["name"]
        for row in samples.rows
        if row["is_public"] and (row["stage_code"] != "execute" or (row["steps"] is not None and row["steps"] > 0))
    ]
    assert sorted(names) == sorted(expected)


def test_limit_is_exact_when_nothing_follows(samples: Samples, connection: sa.Connection) -> None:
    ids, found = _Walker(samples, connection, limit=len(samples.rows)).get()
    assert (len(ids), found.next, found.previous, found.first) == (len(samples.rows), None, None, None)


def test_an_empty_list_has_no_cursors(samples: Samples, connection: sa.Connection) -> None:
    for from_prev in (False, True):
        ids, found = _Walker(samples, connection, q="name:nobody").get(from_prev=from_prev)
        assert (ids, found.first, found.next, found.previous) == ([], None, None, None)


def test_build_refuses_what_the_list_does_not_have(samples: Samples) -> None:
    for query, error in [
        (ListQuery(pq="x" * 9), InvalidCursor),
        (ListQuery(sort_by="nope"), InvalidSort),
        (ListQuery(fields=("nope",)), InvalidField),
        (ListQuery(embed=("nope",)), InvalidField),
    ]:
        with pytest.raises(error):
            build(samples.spec, query)


def test_sub_millisecond_neighbours_are_told_apart(samples: Samples, connection: sa.Connection) -> None:
    """A cursor that rounds its time to milliseconds would repeat or skip rows here."""
    [start] = connection.execute(sa.select(sa.func.max(samples.table.c.created_at))).scalars()
    new = [
        sample_rows(1)[0] | {"id": uuid4(), "created_at": start + timedelta(days=1, microseconds=at)} for at in range(9)
    ]
    connection.execute(samples.table.insert(), new)
    pages = _Walker(samples, connection, q="created_at >= 2026-01-04", limit=2).forwards()
    assert list(chain(*pages)) == [row["id"] for row in reversed(new)]
