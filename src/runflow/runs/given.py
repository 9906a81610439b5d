"""What a caller sends, with where in the request it stands."""

from dataclasses import dataclass
from typing import Any

Place = tuple[str | int, ...]
"""Where a value stands: keys and indexes, from the outside in."""


@dataclass(frozen=True, slots=True)
class Given:
    """The `input` of one run as it was sent, and where it stands in the request."""

    values: dict[str, Any]
    place: Place = ("body", "input")
