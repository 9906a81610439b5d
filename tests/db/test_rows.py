"""Rows and their classes: a column too many or too few is told, not swallowed."""

from dataclasses import dataclass

import pytest

from runflow.db.rows import RowMismatch, row_maker, single_value


@dataclass(frozen=True, slots=True)
class Cat:
    name: str
    age: int
    colour: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    street: str
    number: int = 1


@pytest.mark.parametrize(
    ("columns", "values", "row"),
    [
        (("name", "age", "colour"), ("Ada", 3, "grey"), Cat("Ada", 3, "grey")),
        (("name", "age"), ("Ada", 3), Cat("Ada", 3)),
        (("colour", "name", "age"), ("grey", "Ada", 3), Cat("Ada", 3, "grey")),
    ],
)
def test_columns_find_their_fields_in_any_order(columns: tuple[str, ...], values: tuple[object, ...], row: Cat) -> None:
    assert row_maker(Cat, columns)(values) == row


def test_fields_that_want_their_name_get_it() -> None:
    assert row_maker(House, ("street",))(("Elm",)) == House(street="Elm")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("name", "age", "weight"), "Cat has no field for weight"),
        (("name",), "No column for age of Cat"),
        (("name", "age", "name"), "gives a column twice"),
    ],
)
def test_a_mismatch_is_told(columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(RowMismatch, match=message):
        row_maker(Cat, columns)


def test_a_single_value_is_the_only_one() -> None:
    assert single_value((7,)) == 7
    with pytest.raises(RowMismatch, match="gives 2"):
        single_value((7, 8))
