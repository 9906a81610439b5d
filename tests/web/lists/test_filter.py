from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runflow.errors import InvalidFilter
from runflow.web.lists import ListQuery, ListSpec, build
from tests.web.lists.conftest import Samples
from tests.web.lists.evaluate import All, AnyOf, Compare, Negate, Tree, holds, render
from tests.web.lists.rows import STAGES, STATUSES, sample_rows, sample_spec, sample_table

_ROWS = sample_rows()
_EQUALITY = ("eq", "ne", "in", "nin")
_ORDER = ("gt", "gte", "lt", "lte")
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
_DATES = st.dates(date(2025, 12, 30), date(2026, 1, 5))
_MOMENTS = st.datetimes(datetime(2025, 12, 31), datetime(2026, 1, 4), timezones=st.just(UTC))
_OTHER: dict[str, st.SearchStrategy[Any]] = {
    "id": st.uuids(),
    "owner_id": st.uuids(),
    "created_at": _DATES | _MOMENTS,
    "completed_at": _DATES | _MOMENTS,
    "name": _TEXT,
    "note": _TEXT,
    "status_code": st.sampled_from(STATUSES),
    "stage_code": st.sampled_from(STAGES),
    "steps": st.integers(-(2**63), 2**63 - 1),
    "size": st.integers(-(2**63), 2**63 - 1),
    "cost": st.decimals(-(10**9), 10**9, places=8),
    "score": st.decimals(-2, 2, places=4),
    "is_public": st.booleans(),
    "is_warm": st.booleans(),
}
_PATTERN = st.lists(
    st.sampled_from(["%", "_", "\\%", "\\_", "\\\\", "a", "A", "b", "é", "\n", "1", "0", "'", " "]), max_size=5
)


def _known(field: str) -> st.SearchStrategy[Any]:
    values = [row[field] for row in _ROWS if row[field] is not None]
    return st.sampled_from([Decimal(repr(value)) if isinstance(value, float) else value for value in values])


@st.composite
def _comparisons(draw: st.DrawFn) -> Tree:
    field = draw(st.sampled_from(sorted(_OTHER)))
    operators = [*_EQUALITY, "isnull"]
    if not field.endswith("_code") and not field.startswith("is_"):
        operators += _ORDER
    if field in ("name", "note"):
        operators += ["like", "ilike"]
    operator = draw(st.sampled_from(operators))
    if operator == "isnull":
        return Compare(field, operator, (draw(st.booleans()),))
    if operator in ("like", "ilike"):
        return Compare(field, operator, ("".join(draw(_PATTERN)),))
    value = _known(field) | _OTHER[field]
    return Compare(field, operator, tuple(draw(st.lists(value, min_size=1, max_size=4 if "in" in operator else 1))))


_TREES = st.recursive(
    _comparisons(),
    lambda inner: st.one_of(
        inner.map(Negate),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
    ),
    max_leaves=8,
)


def _matching(samples: Samples, connection: sa.Connection, text: str) -> set[Any]:
    statement = build(samples.spec, ListQuery(q=text, limit=500), sa.select(samples.table.c.id))
    return {row.id for row in connection.execute(statement)}


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tree=_TREES, chance=st.randoms(use_true_random=False))
def test_database_and_plain_python_agree(samples: Samples, connection: sa.Connection, tree: Tree, chance: Any) -> None:
    text = render(tree, chance)
    expected = {row["id"] for row in _ROWS if holds(row, tree)}
    assert _matching(samples, connection, text) == expected, text


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ("created_at:2026-01-02", lambda row: row["created_at"].date() == date(2026, 1, 2)),
        ("created_at != 2026-01-02", lambda row: row["created_at"].date() != date(2026, 1, 2)),
        ("created_at > 2026-01-02", lambda row: row["created_at"] > datetime(2026, 1, 2, tzinfo=UTC)),
        ("created_at <= 2026-01-02", lambda row: row["created_at"] <= datetime(2026, 1, 2, tzinfo=UTC)),
        ("created_at.in:(2026-01-01, '2026-01-03')", lambda row: row["created_at"].day in (1, 3)),
        ("stage_code != execute", lambda row: row["stage_code"] != "execute"),
        ("NOT stage_code = execute", lambda row: row["stage_code"] != "execute"),
        ("NOT (steps > 0 OR steps <= 0)", lambda row: row["steps"] is None),
        ("is_warm:true OR is_warm:false", lambda row: row["is_warm"] is not None),
        ("steps < 9223372036854775807", lambda row: row["steps"] is not None),
        ("name.eq:'100%'", lambda row: row["name"] == "100%"),
        ("name.like:'100\\\\%'", lambda row: row["name"] == "100%"),
        ("name:null", lambda row: row["name"] == "null"),
    ],
)
def test_meaning(samples: Samples, connection: sa.Connection, text: str, keeps: Any) -> None:
    expected = {row["id"] for row in samples.rows if keeps(row)}
    assert 0 < len(expected) < len(samples.rows), "the sample must be able to tell right from wrong"
    assert _matching(samples, connection, text) == expected


def test_an_expression_can_be_a_field(samples: Samples, connection: sa.Connection) -> None:
    length = sa.func.length(samples.table.c.name)
    [id_field] = [field for field in samples.spec.fields if field.name == "id"]
    spec = ListSpec(
        samples.table,
        (id_field, type(id_field)("length", length, samples.spec.by_name["size"].kind)),
        response_fields=frozenset(),
        default_sort="length:asc",
    )
    rows = connection.execute(build(spec, ListQuery(q="length.in:(1,2)"))).all()
    assert sorted(row.id for row in rows) == sorted(row["id"] for row in samples.rows if len(row["name"]) in (1, 2))


_SPEC: ListSpec = sample_spec(sample_table("anywhere"))


@pytest.mark.parametrize(
    ("text", "character", "says"),
    [
        (
            "nope:1",
            1,
            '"nope" is not a field of this filter; expected one of completed_at, cost, created_at, id, is_public',
        ),
        ("size:1 AND (Size:1)", 13, '"Size" is not a field'),
        ("size:ten", 6, 'size is of type int and expects an integer of at most 64 bits, found "ten"'),
        ("size:9223372036854775808", 6, "an integer of at most 64 bits"),
        ("size:1.0", 6, "an integer"),
        ("size:'１'", 6, "an integer"),
        ("cost:1e9", 6, "a decimal number such as 12.5, without exponent"),
        ("cost:NaN", 6, "a decimal number"),
        ("id.eq:123", 7, "id is of type uuid and expects a UUID such as"),
        ("is_public=maybe", 11, 'expects true or false, found "maybe"'),
        ("note.isnull:perhaps", 13, "expects true or false"),
        ("status_code:done", 13, 'expects one of queued, running, succeeded, failed, found "done"'),
        ("status_code.in:(queued, done)", 25, "expects one of queued, running, succeeded, failed"),
        ("status_code>queued", 12, "gt does not apply to status_code (enum); expected one of eq, ne, in, nin, isnull"),
        ("is_public.like:t", 11, "like does not apply to is_public (bool)"),
        ("size.ilike:1", 6, "ilike does not apply to size (int)"),
        ("created_at > yesterday", 14, "expects an ISO 8601 date or time such as 2026-01-31"),
        ("created_at > 2026-02-30", 14, "expects a date and time that exist"),
        ("created_at > 2026-01-01T25:00", 14, "expects a date and time that exist"),
        ("created_at = 9999-12-31", 14, "expects a date and time that exist"),
        ("created_at < 0001-01-01T00:00+14:00", 14, "expects a date and time that exist"),
        ("created_at:20260101", 12, "expects an ISO 8601 date or time"),
        ("completed_at:null", 14, 'found "null"; for a missing value write completed_at.isnull:true'),
        ("name.like:'a\\\\'", 11, "a pattern that does not end in a single backslash"),
    ],
)
def test_a_wrong_field_operator_or_value_says_so(text: str, character: int, says: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        build(_SPEC, ListQuery(q=text))
    assert caught.value.message.startswith(f"Invalid filter at character {character}: ")
    assert says in caught.value.message
    assert caught.value.errors == [{"loc": ["query", "q"], "msg": caught.value.message, "type": "invalid_filter"}]


def test_a_field_that_is_not_filterable_is_unknown_to_the_filter() -> None:
    table = sample_table("anywhere")
    field = sample_spec(table).by_name["id"]
    spec = ListSpec(
        table, (type(field)("id", table.c.id, field.kind, filterable=False),), frozenset(), default_sort="id:asc"
    )
    with pytest.raises(InvalidFilter, match='"id" is not a field of this filter'):
        build(spec, ListQuery(q="id.isnull:true"))


def test_values_are_bind_parameters_and_lists_are_one() -> None:
    text = "name:\"x' OR 1=1\" AND size.in:(1, 2, 3) AND note.like:'%y%'"
    statement = str(build(_SPEC, ListQuery(q=text)))
    other = str(build(_SPEC, ListQuery(q="name:a AND size.in:(4, 5) AND note.like:b")))
    assert statement == other
    assert "1=1" not in statement
