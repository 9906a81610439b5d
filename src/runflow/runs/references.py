"""Asset references inside inputs: found at dispatch, signed for the worker, re-signed on every read."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

PREFIX = "runflow://assets/"


def asset_id(value: object) -> UUID | None:
    """Return the asset that a `runflow://assets/{uuid}` reference names, None when the value is no such reference."""
    if not isinstance(value, str) or not value.startswith(PREFIX):
        return None
    try:
        return UUID(value[len(PREFIX) :])
    except ValueError:
        return None


def found_in(value: Any) -> Iterator[tuple[str, UUID]]:
    """Yield every asset reference in a JSON value, as (reference, asset id)."""
    if isinstance(value, dict):
        for item in value.values():
            yield from found_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from found_in(item)
    elif (found := asset_id(value)) is not None:
        yield value, found


def replaced(value: Any, replace: Callable[[UUID], str | None]) -> Any:
    """Return a copy of a JSON value in which references became what `replace` gave; None leaves one as it is."""
    if isinstance(value, dict):
        return {key: replaced(item, replace) for key, item in value.items()}
    if isinstance(value, list):
        return [replaced(item, replace) for item in value]
    found = asset_id(value)
    return value if found is None else replace(found) or value
