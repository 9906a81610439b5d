"""Filter literals → typed values. A literal that does not fit its field is an InvalidFilter at its character."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from runflow.web.lists.spec import FieldKind, ListField
from runflow.web.lists.syntax import Operator, Term, Value, filter_error

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_INT = re.compile(r"-?[0-9]{1,19}")
_DECIMAL = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_BOOL = {"true": True, "1": True, "false": False, "0": False}
_INT_LIMIT = 2**63
_SPELLINGS = {"canceled": "cancelled"}
"""Other spellings of values of enums, as some clients write them."""

_ORDERED = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})
_EQUALITY = frozenset({Operator.EQ, Operator.NE, Operator.IN, Operator.NIN, Operator.ISNULL})
_OPERATORS = {
    FieldKind.UUID: _EQUALITY | _ORDERED,
    FieldKind.INT: _EQUALITY | _ORDERED,
    FieldKind.DECIMAL: _EQUALITY | _ORDERED,
    FieldKind.BOOL: _EQUALITY,
    FieldKind.TIMESTAMP: _EQUALITY | _ORDERED,
    FieldKind.ENUM: _EQUALITY,
    FieldKind.STRING: _EQUALITY | _ORDERED | {Operator.LIKE, Operator.ILIKE},
}


@dataclass(frozen=True, slots=True)
class Day:
    """A date without a time: the UTC day from `start` up to, not including, `end`."""

    start: datetime
    end: datetime


Typed = UUID | int | Decimal | bool | datetime | Day | str


def spelled(code: str) -> str:
    """Return a value of an enum as it is spelled here."""
    return _SPELLINGS.get(code, code)


def check_operator(field: ListField, term: Term) -> None:
    """Raise InvalidFilter unless the term's operator has a meaning for the field's kind."""
    allowed = _OPERATORS[field.kind]
    if term.operator not in allowed:
        names = ", ".join(operator for operator in Operator if operator in allowed)
        raise filter_error(
            term.operator_at, f"{term.operator} does not apply to {field.name} ({field.kind}); expected one of {names}"
        )


def typed(field: ListField, value: Value) -> Typed:
    """Read one literal as a value of the field, or raise InvalidFilter."""
    text = value.text
    match field.kind:
        case FieldKind.STRING:
            return text
        case FieldKind.ENUM:
            choices = field.choices or ()
            text = spelled(text)
            if text in choices:
                return text
            raise _wrong(field, value, f"one of {', '.join(choices)}")
        case FieldKind.UUID:
            if _UUID.fullmatch(text):
                return UUID(text)
            raise _wrong(field, value, "a UUID such as 0190d3a1-4b1c-7e2f-8a55-1f2e3d4c5b6a")
        case FieldKind.INT:
            if _INT.fullmatch(text) and -_INT_LIMIT <= int(text) < _INT_LIMIT:
                return int(text)
            raise _wrong(field, value, "an integer of at most 64 bits")
        case FieldKind.DECIMAL:
            if _DECIMAL.fullmatch(text):
                return Decimal(text)
            raise _wrong(field, value, "a decimal number such as 12.5, without exponent")
        case FieldKind.BOOL:
            return boolean(field, value)
        case FieldKind.TIMESTAMP:
            return _timestamp(field, value)


def boolean(field: ListField, value: Value) -> bool:
    """Read `true`, `false`, `1` or `0`, or raise InvalidFilter; also the operand of `isnull`."""
    result = _BOOL.get(value.text.lower())
    if result is None:
        raise _wrong(field, value, "true or false")
    return result


def pattern(field: ListField, value: Value) -> str:
    """Return the pattern of `like` or `ilike`: `%` any text, `_` any one character, backslash before either literal."""
    if (len(value.text) - len(value.text.rstrip("\\"))) % 2:
        raise _wrong(field, value, "a pattern that does not end in a single backslash, which escapes nothing")
    return value.text


def _timestamp(field: ListField, value: Value) -> datetime | Day:
    text = value.text
    try:
        if _DATE.fullmatch(text):
            start = datetime.fromisoformat(text).replace(tzinfo=UTC)
            return Day(start, start + timedelta(days=1))
        if _TIME.fullmatch(text):
            moment = datetime.fromisoformat(text.upper())
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(field, value, "a date and time that exist") from None
    raise _wrong(field, value, "an ISO 8601 date or time such as 2026-01-31 or 2026-01-31T10:00:00+00:00")


def _wrong(field: ListField, value: Value, expected: str) -> Exception:
    shown = value.text if len(value.text) <= 60 else value.text[:60] + "…"
    hint = f"; for a missing value write {field.name}.isnull:true" if value.text.lower() in ("null", "none") else ""
    return filter_error(value.at, f'{field.name} is of type {field.kind} and expects {expected}, found "{shown}"{hint}')
