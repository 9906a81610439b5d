from dataclasses import replace

import pytest

from runflow.errors import InvalidSort
from runflow.web.lists import FieldKind, ListField, ListSpec
from tests.web.lists.rows import sample_table

_TABLE = sample_table("anywhere")
_ID = ListField("id", _TABLE.c.id, FieldKind.UUID)
_CREATED = ListField("created_at", _TABLE.c.created_at, FieldKind.TIMESTAMP)


def test_fields_are_found_by_name() -> None:
    spec = ListSpec(_TABLE, (_ID, _CREATED), frozenset({"id"}))
    assert dict(spec.by_name) == {"id": _ID, "created_at": _CREATED}


def test_a_wrong_declaration_fails_where_it_stands() -> None:
    with pytest.raises(ValueError, match="one field name twice"):
        ListSpec(_TABLE, (_ID, _ID), frozenset())
    with pytest.raises(ValueError, match="needs its id field 'id'"):
        ListSpec(_TABLE, (_CREATED,), frozenset())
    with pytest.raises(ValueError, match="not nullable"):
        ListSpec(_TABLE, (replace(_ID, nullable=True), _CREATED), frozenset())
    with pytest.raises(InvalidSort):
        ListSpec(_TABLE, (_ID,), frozenset())
    with pytest.raises(ValueError, match="an ENUM needs choices"):
        ListField("status_code", _TABLE.c.status_code, FieldKind.ENUM)
    with pytest.raises(ValueError, match="no other kind has them"):
        ListField("name", _TABLE.c.name, FieldKind.STRING, choices=("a",))


def test_a_reference_list_may_be_keyed_by_a_code() -> None:
    code = ListField("code", _TABLE.c.name, FieldKind.STRING)
    ListSpec(_TABLE, (code,), frozenset({"code"}), id_field="code", default_sort="code:asc")
