"""What a statement's rows become: objects of the class that the statement's owner declares for them.

A row class is a dataclass (or any class whose parameters are named as columns are) with one field per column, in any
order. It is checked against the columns when the first row arrives: a column without a field, and a field without a
column or a default, are errors of the programmer and say so.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

RowT = TypeVar("RowT")


class RowMismatch(TypeError):
    """A statement's columns are not what the class of its rows says."""


def row_maker(kind: type[RowT], columns: tuple[str, ...]) -> Callable[[Sequence[Any]], RowT]:
    """Return the function that makes a `kind` of a row's values, which come in the order of `columns`.

    Raises `RowMismatch`.
    """
    wanted: Any = kind
    found: Callable[[Sequence[Any]], RowT] = _maker(wanted, columns)
    return found


@lru_cache(maxsize=1024)
def _maker(kind: Any, columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
    parameters = inspect.signature(kind).parameters
    wanted = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    if len(set(columns)) < len(columns):
        raise RowMismatch(f"A statement gives a column twice, for rows of {kind.__qualname__}: {', '.join(columns)}.")
    if unknown := set(columns) - parameters.keys():
        raise RowMismatch(f"{kind.__qualname__} has no field for {', '.join(sorted(unknown))}.")
    if missing := wanted - set(columns):
        raise RowMismatch(f"No column for {', '.join(sorted(missing))} of {kind.__qualname__}.")
    by_place = tuple(name for name, parameter in parameters.items() if parameter.kind is not parameter.KEYWORD_ONLY)
    if by_place[: len(columns)] == columns:
        return lambda values: kind(*values)
    return lambda values: kind(**dict(zip(columns, values, strict=True)))


def single_value(values: Sequence[Any]) -> Any:
    """Return the value of a row that has one column.

    Raises `RowMismatch` for one that has more.
    """
    if len(values) != 1:
        raise RowMismatch(f"A statement that should give one column gives {len(values)}.")
    return values[0]
