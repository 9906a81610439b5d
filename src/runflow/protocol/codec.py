"""Messages as JSON: how both sides write them, and how a worker reads what the server answers.

Reading is strict about what is there and forgiving about what is new: an unknown field is passed over, so that a server
may say more than an older worker knows.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import orjson

M = TypeVar("M")
Reader = Callable[[Any], Any]


class NotAMessage(ValueError):
    """What came in is not what the protocol says; the text names the field."""


def to_wire(message: Any) -> bytes:
    """Return a message, or a mapping or list of messages, as JSON: times in ISO 8601, ids with hyphens."""
    return orjson.dumps(message)


def from_wire(kind: type[M], data: Any) -> M:
    """Read a message of this kind from parsed JSON. Raises `NotAMessage`."""
    found: M = _reader_of(kind)(data)
    return found


PARCEL = "application/vnd.runflow.parcel"
"""The media type of a message that brings bytes along."""
_HEAD = 10


def pack(message: bytes, contents: Sequence[bytes]) -> bytes:
    """Return a message with bytes that it brings along: the length of its JSON in ten digits, the JSON, the bytes."""
    return b"".join((b"%0*d" % (_HEAD, len(message)), message, *contents))


def unpack(parcel: bytes) -> tuple[bytes, memoryview]:
    """Return the JSON of a parcel, and all the bytes behind it. Raises `NotAMessage`."""
    head = parcel[:_HEAD]
    end = _HEAD + int(head) if len(head) == _HEAD and head.isdigit() else 0
    if not _HEAD <= end <= len(parcel) or not end:
        raise NotAMessage("does not begin with the length of its JSON")
    return parcel[_HEAD:end], memoryview(parcel)[end:]


def as_fields(message: Any) -> dict[str, Any]:
    """Return a message's fields by name; what stands in them stays as it is."""
    return {field.name: getattr(message, field.name) for field in fields(message)}


_readers: dict[Any, Reader] = {}


def _reader_of(kind: Any) -> Reader:
    """Return what reads a message of this kind; found out once."""
    found = _readers.get(kind)
    if found is None:
        found = _readers[kind] = _reader(kind)
    return found


def _reader(kind: Any) -> Reader:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _reader(parts[0])
    if origin in (Union, types.UnionType):
        return _optional(_reader(next(part for part in parts if part is not type(None))))
    if origin is list:
        return _each(_reader(parts[0]))
    if origin is dict:
        return _values(_reader(parts[1]))
    if origin is Literal:
        return _one_of(frozenset(parts))
    if kind is Any:
        return lambda value: value
    if is_dataclass(kind):
        return _message(kind)
    return _plain(kind)


def _message(kind: Any) -> Reader:
    hints = get_type_hints(kind, include_extras=True)
    known = [
        (field.name, _reader(hints[field.name]), field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    ]

    def read(data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise NotAMessage(f"is {_called(data)}, not an object ({kind.__name__})")
        values = {}
        for name, reader, is_required in known:
            if name in data:
                try:
                    values[name] = reader(data[name])
                except NotAMessage as problem:
                    raise NotAMessage(f"{name}: {problem}") from None
            elif is_required:
                raise NotAMessage(f"{name}: is missing ({kind.__name__})")
        return kind(**values)

    return read


def _optional(reader: Reader) -> Reader:
    return lambda value: None if value is None else reader(value)


def _each(reader: Reader) -> Reader:
    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise NotAMessage(f"is {_called(value)}, not a list")
        return [reader(item) for item in value]

    return read


def _values(reader: Reader) -> Reader:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise NotAMessage(f"is {_called(value)}, not an object")
        return {name: reader(item) for name, item in value.items()}

    return read


def _one_of(allowed: frozenset[Any]) -> Reader:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise NotAMessage(f"is {value!r}, not one of {', '.join(sorted(map(str, allowed)))}")
        return value

    return read


_MADE_FROM_TEXT: Mapping[type, Callable[[str], Any]] = {UUID: UUID, datetime: datetime.fromisoformat}


def _plain(kind: type) -> Reader:
    make: Callable[[Any], Any] | None = _MADE_FROM_TEXT.get(kind) or (kind if issubclass(kind, Enum) else None)
    wanted: type | tuple[type, ...] = str if make else (int, float) if kind is float else kind

    def read(value: Any) -> Any:
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            raise NotAMessage(f"is {_called(value)}, not {kind.__name__}")
        if make is None:
            return value
        try:
            return make(value)
        except ValueError:
            raise NotAMessage(f"is {value!r}, which is no {kind.__name__}") from None

    return read


def _called(value: Any) -> str:
    return "null" if value is None else type(value).__name__
