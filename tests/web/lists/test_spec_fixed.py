"""Lists over data that stands in the code."""

import sqlalchemy as sa

from runflow.web.lists import FieldKind, ListField, ListQuery, ListSpec, build, page
from runflow.web.lists.spec import fixed_table
from tests.web.lists.rows import keyed_rows

_ROWS = [{"code": "b", "place": 2, "is_last": True, "more": "unused"}, {"code": "a'", "place": 1, "is_last": False}]
_TABLE = fixed_table("things", {"code": str, "place": int, "is_last": bool}, _ROWS)
_SPEC = ListSpec(
    from_=_TABLE,
    fields=(
        ListField("code", _TABLE.c.code, FieldKind.STRING),
        ListField("place", _TABLE.c.place, FieldKind.INT),
        ListField("is_last", _TABLE.c.is_last, FieldKind.BOOL),
    ),
    response_fields=frozenset({"code"}),
    id_field="code",
    default_sort="place",
)


def test_it_filters_sorts_and_pages_like_a_table(list_engine: sa.Engine) -> None:
    def codes(query: ListQuery) -> list[str]:
        with list_engine.connect() as connection:
            return [row.code for row in page(_SPEC, query, keyed_rows(connection, build(_SPEC, query))).rows]

    assert codes(ListQuery()) == ["a'", "b"]
    assert codes(ListQuery(sort_by="code:desc")) == ["b", "a'"]
    assert codes(ListQuery(q="is_last:true")) == ["b"]
    assert codes(ListQuery(q="code:'a\\'' OR place > 5")) == ["a'"]
    assert codes(ListQuery(limit=1, from_prev=True)) == ["b"]
