import base64
import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.errors import InvalidCursor
from runflow.web.lists.pages import Cursor, decode_cursor, encode_cursor
from runflow.web.lists.spec import parse_sort
from tests.web.lists.rows import sample_spec, sample_table

_SPEC = sample_spec(sample_table("anywhere"))
_EVERY = parse_sort(
    "completed_at:desc,note:asc,status_code:asc,steps:desc,cost:asc,is_warm:asc,id:desc", _SPEC.by_name, "id"
)
_DEFAULT = parse_sort(_SPEC.default_sort, _SPEC.by_name, "id")
_ID = UUID("0190d3a1-4b1c-7e2f-8a55-1f2e3d4c5b6a")
_HERE = (datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), _ID)


def _encode(body: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(body)).rstrip(b"=").decode()


@given(
    st.tuples(
        st.none() | st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0)),
        st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
        st.sampled_from(["queued", "failed"]),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.decimals(-(10**20), 10**20, allow_nan=False),
        st.none() | st.booleans(),
        st.uuids(),
    ),
    st.booleans(),
    st.none() | st.text(),
)
def test_every_value_comes_back_exactly(values: tuple[Any, ...], backwards: bool, filter_text: str | None) -> None:
    text = encode_cursor(Cursor(values, backwards), _EVERY, filter_text)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", text)
    assert decode_cursor(text, _EVERY, filter_text) == Cursor(values, backwards)


def test_a_double_comes_back_exactly() -> None:
    keys = parse_sort("score:asc", _SPEC.by_name, "id")
    for score in (1 / 3, -0.0, 5e-324, 1.7976931348623157e308, 1e-7):
        values = decode_cursor(encode_cursor(Cursor((score, _ID)), keys, None), keys, None).values
        assert values is not None
        assert float(values[0]) == score


def test_the_edge_has_no_values() -> None:
    for backwards in (False, True):
        text = encode_cursor(Cursor(None, backwards), _DEFAULT, None)
        assert decode_cursor(text, _DEFAULT, None) == Cursor(None, backwards)


def test_blank_around_a_filter_makes_no_other_filter() -> None:
    assert decode_cursor(encode_cursor(Cursor(_HERE), _DEFAULT, " a:1 "), _DEFAULT, "a:1") == Cursor(_HERE)
    assert decode_cursor(encode_cursor(Cursor(_HERE), _DEFAULT, None), _DEFAULT, " ") == Cursor(_HERE)


def test_another_sort_order_is_refused_by_name() -> None:
    text = encode_cursor(Cursor(_HERE), _DEFAULT, None)
    other = parse_sort("created_at:asc", _SPEC.by_name, "id")
    with pytest.raises(InvalidCursor, match="belongs to another sort order than created_at:asc,id:asc"):
        decode_cursor(text, other, None)


def test_another_filter_is_refused() -> None:
    text = encode_cursor(Cursor(_HERE), _DEFAULT, "status_code:queued")
    for other in (None, "status_code:failed"):
        with pytest.raises(InvalidCursor, match="belongs to another filter"):
            decode_cursor(text, _DEFAULT, other)


_GOOD = {"s": "created_at:desc,id:desc", "q": "", "v": [1767323045678901, str(_ID)]}


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "not a cursor",
        "é",
        "\x00",
        "https://host/v1/runs?pq=abc",
        "A" * 20000,
        _encode([]),
        _encode("text"),
        _encode(None),
        _encode({**_GOOD, "v": []}),
        _encode({**_GOOD, "v": {}}),
        _encode({**_GOOD, "v": [1]}),
        _encode({**_GOOD, "v": [1, str(_ID), 2]}),
        _encode({**_GOOD, "v": [None, str(_ID)]}),
        _encode({**_GOOD, "v": [1, None]}),
        _encode({**_GOOD, "v": ["1", str(_ID)]}),
        _encode({**_GOOD, "v": [True, str(_ID)]}),
        _encode({**_GOOD, "v": [2**63, str(_ID)]}),
        _encode({**_GOOD, "v": [-(2**63), str(_ID)]}),
        _encode({**_GOOD, "v": [1.5, str(_ID)]}),
        _encode({**_GOOD, "v": [1, "no-uuid"]}),
        _encode({**_GOOD, "v": [1, 7]}),
        _encode({**_GOOD, "b": "yes"}),
        encode_cursor(Cursor(_HERE), _DEFAULT, None)[:-3],
    ],
)
def test_garbage_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(InvalidCursor, match=r"not one that this list gave out.*leave pq out") as caught:
        decode_cursor(text, _DEFAULT, None)
    assert caught.value.errors == [{"loc": ["query", "pq"], "msg": caught.value.message, "type": "invalid_cursor"}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "nul\x00"),
        ("steps", 2**63),
        ("cost", "1e999"),
        ("cost", "1e-999"),
        ("cost", "1" * 401),
        ("cost", "sNaN"),
        ("cost", 1),
        ("is_public", 1),
        ("is_public", None),
    ],
)
def test_a_forged_value_that_the_database_would_choke_on_is_refused(field: str, value: Any) -> None:
    keys = parse_sort(field, _SPEC.by_name, "id")
    with pytest.raises(InvalidCursor):
        decode_cursor(_encode({"s": f"{field}:asc,id:asc", "q": "", "v": [value, str(_ID)]}), keys, None)


@given(st.binary(max_size=80))
def test_any_bytes_are_refused_never_a_crash(raw: bytes) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(base64.urlsafe_b64encode(raw).decode(), _DEFAULT, None)
