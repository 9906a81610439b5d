import pytest
import sqlalchemy as sa

from runflow.errors import InvalidSort
from runflow.web.lists.spec import FieldKind, ListField, parse_sort, signature

_FIELDS = {
    name: ListField(name, sa.column(name), FieldKind.STRING, sortable=name != "secret")
    for name in ("id", "created_at", "name", "secret")
}


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("created_at:desc", "created_at:desc,id:desc"),
        ("created_at:asc", "created_at:asc,id:asc"),
        ("name", "name:asc,id:asc"),
        (" name : ASC , created_at:Desc ", "name:asc,created_at:desc,id:desc"),
        ("name:asc,id:desc", "name:asc,id:desc"),
        ("id:desc,name:asc", "id:desc"),
    ],
)
def test_reads_and_ends_in_the_id(text: str, order: str) -> None:
    assert signature(parse_sort(text, _FIELDS, "id")) == order


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("size:asc", 'Cannot sort by "size"; expected one of created_at, id, name.'),
        ("secret:asc", 'Cannot sort by "secret"; expected one of created_at, id, name.'),
        ("name:asc,", 'Cannot sort by ""; expected one of'),
        ("name:down", 'Cannot sort name by "down"; expected name:asc or name:desc.'),
        ("name:asc:desc", 'Cannot sort name by "asc:desc"'),
        ("name:asc,name:desc", '"name" stands twice in sort_by'),
        ("x" * 5000, 'Cannot sort by "' + "x" * 60 + '…"'),
    ],
)
def test_refuses(text: str, says: str) -> None:
    with pytest.raises(InvalidSort) as caught:
        parse_sort(text, _FIELDS, "id")
    assert says in caught.value.message
    assert caught.value.errors == [{"loc": ["query", "sort_by"], "msg": caught.value.message, "type": "invalid_sort"}]
