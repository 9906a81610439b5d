"""What a worker may tell at most: annotations of the protocol's fields, which the server applies to what comes in.

The classes know how Pydantic asks for a check, and import it only when it does: a worker has none.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from annotated_types import Ge, Le, MaxLen

MAX_DOCUMENT_BYTES = 64 * 1024
"""Longest JSON document in what a worker tells: each is stored, and shown to callers."""
MAX_LINE = 16 * 1024
"""Longest log line, in characters; the rest is cut off."""
MAX_SENTENCE = 4000
"""Longest message, in characters; the rest is cut off."""


class Bound:
    """Something that holds of a value, or is made to hold."""

    def apply(self, value: Any) -> Any:
        """Return the value as it may be stored. Raises ValueError."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Tell Pydantic to apply it after its own checks."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self.apply, handler(source))


@dataclass(frozen=True)
class Storable(Bound):
    """Text from custom nodes and engines: PostgreSQL stores no NUL."""

    def apply(self, value: str) -> str:
        """Put the sign for what cannot be shown in the place of each NUL."""
        return value.replace("\0", "\ufffd")


@dataclass(frozen=True)
class CutTo(Bound):
    """Text of which only the beginning is kept."""

    characters: int

    def apply(self, value: str) -> str:
        """Cut it."""
        return value[: self.characters]


@dataclass(frozen=True)
class JsonBytes(Bound):
    """A document of at most so many bytes as JSON, nested no deeper than JSON is written here."""

    most: int

    def apply(self, value: Any) -> Any:
        """Return it as it is. Raises ValueError."""
        try:
            size = len(orjson.dumps(value))
        except TypeError:
            raise ValueError("is nested too deeply") from None
        if size > self.most:
            raise ValueError(f"has more than {self.most} bytes as JSON")
        return value


@dataclass(frozen=True)
class CutLine(Bound):
    """What an event tells: of a log line only the beginning of its `message` is kept."""

    characters: int

    def apply(self, value: dict[str, Any]) -> dict[str, Any]:
        """Cut the line."""
        line = value.get("message")
        if isinstance(line, str) and len(line) > self.characters:
            return {**value, "message": line[: self.characters]}
        return value


@dataclass(frozen=True)
class Between(Bound):
    """A number that is measured: what is out of its range says more about a clock than about the work."""

    least: int
    most: int

    def apply(self, value: int) -> int:
        """Take the nearest number of the range."""
        return max(self.least, min(self.most, value))


@dataclass(frozen=True)
class WithZone(Bound):
    """A time that says where on Earth. One that does not is taken for UTC: no result is refused over a time."""

    def apply(self, value: datetime) -> datetime:
        """Return it with its zone."""
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


@dataclass(frozen=True)
class HexDigits(Bound):
    """A hash in lower-case hexadecimal, of so many characters."""

    characters: int

    def apply(self, value: str) -> str:
        """Return it as it is. Raises ValueError."""
        if len(value) != self.characters or value.strip("0123456789abcdef"):
            raise ValueError(f"must be {self.characters} lower-case hexadecimal digits")
        return value


Text = Annotated[str, Storable()]
Short = Annotated[str, MaxLen(255), Storable()]
Sentence = Annotated[str, Storable(), CutTo(MAX_SENTENCE)]
Document = Annotated[dict[str, Any], JsonBytes(MAX_DOCUMENT_BYTES)]
Milliseconds = Annotated[int, Between(0, 10**9)]
Pixels = Annotated[int, Ge(0), Le(10**6)]
Bytes = Annotated[int, Ge(0)]
Time = Annotated[datetime, WithZone()]
Sha256 = Annotated[str, HexDigits(64)]
