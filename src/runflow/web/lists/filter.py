"""Filter tree → SQL condition.

A filter has two truth values, not SQL's three: a comparison with a missing (null) value is false, `!=`, `nin` and NOT
are exact complements. So `category_code != 3d` and `NOT category_code = 3d` both keep the rows without a category.

A date without a time stands for its whole UTC day in `=`, `!=`, `in` and `nin`, and for the first instant of that day
in `>`, `>=`, `<` and `<=`: `created_at > 2026-01-31` includes that day, `created_at < 2026-02-01` is all of January.

Every value travels as a bind parameter; field names are looked up, never pasted.
"""

from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from runflow.web.lists.explain import filter_error
from runflow.web.lists.fields import ListField
from runflow.web.lists.syntax import And, Node, Not, Operator, Or, Term
from runflow.web.lists.values import Day, Typed, boolean, check_operator, pattern, typed

Condition = sa.ColumnElement[bool]


def condition(fields: Mapping[str, ListField], node: Node) -> Condition:
    """Return the WHERE condition of a parsed filter over the fields of one list; raise InvalidFilter."""
    match node:
        case Term():
            return _term(fields, node)
        case Not():
            return _is_not_true(condition(fields, node.part))
        case And():
            return sa.and_(*(condition(fields, part) for part in node.parts))
        case Or():
            return sa.or_(*(condition(fields, part) for part in node.parts))


def _term(fields: Mapping[str, ListField], term: Term) -> Condition:
    field = fields.get(term.field)
    if field is None or not field.filterable:
        names = ", ".join(sorted(name for name, known in fields.items() if known.filterable))
        raise filter_error(term.at, f'"{term.field}" is not a field of this filter; expected one of {names}')
    check_operator(field, term)
    column, value = field.column, term.values[0]
    match term.operator:
        case Operator.EQ:
            return _equals(field, typed(field, value))
        case Operator.NE:
            return _differs(field, typed(field, value))
        case Operator.IN:
            return _is_one_of(field, term)
        case Operator.NIN:
            return _is_not_true(_is_one_of(field, term))
        case Operator.GT:
            return column > field.bind(_instant(typed(field, value)))
        case Operator.GTE:
            return column >= field.bind(_instant(typed(field, value)))
        case Operator.LT:
            return column < field.bind(_instant(typed(field, value)))
        case Operator.LTE:
            return column <= field.bind(_instant(typed(field, value)))
        case Operator.LIKE:
            return column.like(field.bind(pattern(field, value)))
        case Operator.ILIKE:
            return column.ilike(field.bind(pattern(field, value)))
        case Operator.ISNULL:
            return column.is_(None) if boolean(field, value) else column.is_not(None)


def _equals(field: ListField, value: Typed) -> Condition:
    if isinstance(value, Day):
        return sa.and_(field.column >= field.bind(value.start), field.column < field.bind(value.end))
    return field.column == field.bind(value)


def _differs(field: ListField, value: Typed) -> Condition:
    if isinstance(value, Day):
        return _is_not_true(_equals(field, value))
    if field.nullable:
        return field.column.is_distinct_from(field.bind(value))
    return field.column != field.bind(value)


def _is_one_of(field: ListField, term: Term) -> Condition:
    values = [typed(field, value) for value in term.values]
    days = [_equals(field, value) for value in values if isinstance(value, Day)]
    exact = [value for value in values if not isinstance(value, Day)]
    if exact:
        days.append(field.column == sa.any_(field.bind_list(exact)))
    return sa.or_(*days)


def _is_not_true(inner: Condition) -> Condition:
    # Below this point "unknown" and "false" mean the same, and AND and OR keep it so; only a negation tells them apart.
    return inner.is_not(sa.true())


def _instant(value: Typed) -> Typed | datetime:
    return value.start if isinstance(value, Day) else value
