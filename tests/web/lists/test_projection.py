import pytest

from runflow.errors import InvalidField
from runflow.web.lists import ListQuery, RecordQuery, check_projection, project
from runflow.web.lists.projection import split_names

_ITEM = {"id": 1, "name": "n", "note": None, "inputs": [2]}


@pytest.mark.parametrize(
    ("text", "names"),
    [(None, None), ("", None), ("  ", None), ("id", ("id",)), (" id , name,id", ("id", "name")), ("id,", ("id", ""))],
)
def test_split_names(text: str | None, names: tuple[str, ...] | None) -> None:
    assert split_names(text) == names


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (ListQuery(), ["id", "name", "note", "inputs"]),
        (ListQuery(fields=("note", "id")), ["id", "note"]),
        (ListQuery(fields=("name",), embed=("inputs",)), ["name", "inputs"]),
        (RecordQuery(fields=("name",)), ["name"]),
    ],
)
def test_project(query: ListQuery | RecordQuery, kept: list[str]) -> None:
    assert list(project(_ITEM, query)) == kept


@pytest.mark.parametrize(
    ("query", "parameter", "says"),
    [
        (RecordQuery(fields=("id", "nope")), "fields", 'Unknown name in fields: "nope"; expected one of id, name.'),
        (RecordQuery(fields=("",)), "fields", 'Unknown name in fields: ""; expected one of id, name.'),
        (RecordQuery(fields=("inputs",)), "fields", 'Unknown name in fields: "inputs"'),
        (ListQuery(embed=("runs",)), "embed", 'Unknown name in embed: "runs"; expected one of inputs.'),
    ],
)
def test_unknown_names_list_the_allowed_ones(query: ListQuery | RecordQuery, parameter: str, says: str) -> None:
    with pytest.raises(InvalidField) as caught:
        check_projection(query, {"id", "name"}, {"inputs"})
    assert says in caught.value.message
    assert caught.value.errors == [{"loc": ["query", parameter], "msg": caught.value.message, "type": "invalid_field"}]


def test_a_resource_without_relations_says_so() -> None:
    with pytest.raises(InvalidField, match="this resource has none"):
        check_projection(RecordQuery(embed=("inputs",)), {"id"}, ())


def test_an_embed_may_be_named_in_fields_too() -> None:
    check_projection(RecordQuery(fields=("id", "inputs"), embed=("inputs",)), {"id"}, {"inputs"})
