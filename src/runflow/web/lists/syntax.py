"""A filter as a tree, between its grammar and SQL: terms, and what joins them."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from runflow.errors import InvalidFilter


class Operator(StrEnum):
    """The operators of the dotted spelling, `field.op:value`. The symbols of the other spelling map onto them."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    NIN = "nin"
    LIKE = "like"
    ILIKE = "ilike"
    ISNULL = "isnull"


SYMBOLS = {
    ":": Operator.EQ,
    "=": Operator.EQ,
    "!=": Operator.NE,
    ">": Operator.GT,
    ">=": Operator.GTE,
    "<": Operator.LT,
    "<=": Operator.LTE,
}
"""`field OP value`: what each symbol means."""

LIST_OPERATORS = frozenset({Operator.IN, Operator.NIN})


@dataclass(frozen=True, slots=True)
class Value:
    """One literal, unescaped but not yet typed. `at` is its offset in the filter text, counted from 0."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison. Only `in` and `nin` carry several values. `at` and `operator_at` are offsets in the text."""

    field: str
    operator: Operator
    values: tuple[Value, ...]
    at: int
    operator_at: int


@dataclass(frozen=True, slots=True)
class Not:
    """True where `part` is not true."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class And:
    """True where every part is true."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where at least one part is true."""

    parts: tuple["Node", ...]


Node = Term | Not | And | Or


def terms(node: Node) -> Iterator[Term]:
    """Yield the comparisons of a filter from left to right."""
    if isinstance(node, Term):
        yield node
    elif isinstance(node, Not):
        yield from terms(node.part)
    else:
        for part in node.parts:
            yield from terms(part)


def filter_error(at: int, message: str) -> InvalidFilter:
    """Return the error for a filter that is wrong at offset `at` (counted from 0; people count from 1)."""
    text = f"Invalid filter at character {at + 1}: {message}."
    return InvalidFilter(text, errors=[{"loc": ["query", "q"], "msg": text, "type": "invalid_filter"}])
