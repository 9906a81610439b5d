"""Cursors: the opaque values of `pq`. A cursor is a place in one order of one filter, not a secret and not a right.

It is URL-safe base64 of compact JSON: `s` the sort order, `q` a fingerprint of the filter, `v` the sort key values of
the row it stands at (absent: the edge of the list), `b` true when it walks backwards. Everything in it is checked like
any other input, and what a caller may see is decided by the query, never by the cursor.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2s
from math import isinf
from typing import Any
from uuid import UUID

import orjson

from runflow.errors import InvalidCursor
from runflow.web.lists.fields import FieldKind
from runflow.web.lists.sort import SortKey, signature

MAX_CHARACTERS = 16384
"""Longest cursor that is read. Longer ones are never given out for fields of the lengths that we store."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DECIMAL = re.compile(r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?|NaN|-?Infinity")
_INT_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list: strictly after (or, backwards, strictly before) the row whose sort key values it holds.

    `values` None is the edge: the start of the list forwards, its end backwards.
    """

    values: tuple[Any, ...] | None
    backwards: bool = False


def encode_cursor(cursor: Cursor, keys: tuple[SortKey, ...], filter_text: str | None) -> str:
    """Return the text of a cursor for this sort order and filter."""
    body: dict[str, Any] = {"s": signature(keys), "q": _fingerprint(filter_text)}
    if cursor.values is not None:
        body["v"] = [_plain(key.field.kind, value) for key, value in zip(keys, cursor.values, strict=True)]
    if cursor.backwards:
        body["b"] = True
    return base64.urlsafe_b64encode(orjson.dumps(body)).rstrip(b"=").decode()


def decode_cursor(text: str, keys: tuple[SortKey, ...], filter_text: str | None) -> Cursor:
    """Read a cursor that `encode_cursor` made for the same sort order and filter; raise InvalidCursor."""
    body = _json(text)
    order = signature(keys)
    if body.get("s") != order:
        raise cursor_error(
            f"The cursor pq belongs to another sort order than {order}. Keep sort_by while you page, or leave pq out."
        )
    if body.get("q") != _fingerprint(filter_text):
        raise cursor_error(
            "The cursor pq belongs to another filter. Keep q unchanged while you page, or leave pq out to start again."
        )
    plain, backwards = body.get("v"), body.get("b", False)
    if not isinstance(backwards, bool):
        raise _unreadable()
    if plain is None:
        return Cursor(None, backwards)
    if not isinstance(plain, list) or len(plain) != len(keys):
        raise _unreadable()
    try:
        values = tuple(_value(key, item) for key, item in zip(keys, plain, strict=True))
    except (ValueError, OverflowError, ArithmeticError):
        raise _unreadable() from None
    return Cursor(values, backwards)


def cursor_error(message: str) -> InvalidCursor:
    """Return the error for a bad `pq`."""
    return InvalidCursor(message, errors=[{"loc": ["query", "pq"], "msg": message, "type": "invalid_cursor"}])


def _unreadable() -> InvalidCursor:
    return cursor_error(
        "The cursor pq is not one that this list gave out. Send first, next or previous of an answer unchanged, "
        "or leave pq out to start again."
    )


def _json(text: str) -> dict[str, Any]:
    if len(text) > MAX_CHARACTERS:
        raise _unreadable()
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        body = orjson.loads(raw)
    except (UnicodeEncodeError, binascii.Error, orjson.JSONDecodeError):
        raise _unreadable() from None
    if not isinstance(body, dict):
        raise _unreadable()
    return body


def _fingerprint(filter_text: str | None) -> str:
    stripped = (filter_text or "").strip()
    return blake2s(stripped.encode(errors="surrogatepass"), digest_size=6).hexdigest() if stripped else ""


def _plain(kind: FieldKind, value: Any) -> Any:
    if value is None:
        return None
    if kind is FieldKind.TIMESTAMP:
        return (value - _EPOCH) // _MICROSECOND
    if kind in (FieldKind.UUID, FieldKind.DECIMAL):
        return str(value)
    return value


def _value(key: SortKey, plain: Any) -> Any:
    """Turn one JSON value back into what the database gave; raise ValueError where it cannot have been one."""
    if plain is None:
        if key.field.nullable:
            return None
        raise ValueError
    match key.field.kind, plain:
        case FieldKind.BOOL, bool():
            return plain
        case FieldKind.INT, int() if not isinstance(plain, bool) and -_INT_LIMIT <= plain < _INT_LIMIT:
            return plain
        case FieldKind.TIMESTAMP, int() if not isinstance(plain, bool):
            return _EPOCH + plain * _MICROSECOND
        case FieldKind.UUID, str():
            return UUID(plain)
        case FieldKind.DECIMAL, str() if _DECIMAL.fullmatch(plain):
            return _decimal(plain)
        case ((FieldKind.STRING | FieldKind.ENUM), str()) if "\x00" not in plain:
            return plain
        case _:
            raise ValueError


def _decimal(plain: str) -> Decimal:
    value, double = Decimal(plain), float(plain)
    # PostgreSQL fails, instead of answering, where a number is too large or too small for a double precision column.
    if value.is_finite() and (isinf(double) or (value and not double)):
        raise ValueError
    return value
