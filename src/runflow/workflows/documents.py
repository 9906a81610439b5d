"""The JSON documents of a version: stored and answered as they were sent, without being taken apart in between."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import Row

from runflow import errors

DOCUMENTS = ("workflow_json", "graph", "environment", "models", "custom_nodes", "resources")
"""The documents of a version, by their names on the wire and in the table."""

MAX_DEPTH = 254
"""Deepest nesting that can be written again."""


def as_text(name: str, document: Any) -> str | None:
    """Return a document as the JSON text to store; null is None. Raises `ValidationFailed` when it nests too deep."""
    if document is None:
        return None
    try:
        return orjson.dumps(document).decode()
    except TypeError:
        message = f"{name}: Objects and arrays may be nested at most {MAX_DEPTH} levels deep"
        detail = {"loc": ["body", name], "msg": message, "type": "too_deep"}
        raise errors.ValidationFailed(message, errors=[detail]) from None


def texts(documents: Mapping[str, Any]) -> dict[str, str | None]:
    """Return each document as the text to store."""
    return {name: as_text(name, document) for name, document in documents.items()}


def size_of(row: Row[Any], names: Iterable[str]) -> int:
    """Return how large these documents of a row are, in characters of JSON."""
    return sum(len(row._mapping[name] or "") for name in names)


def fragment(text: str | None) -> orjson.Fragment | None:
    """Return stored text so that an answer carries it without parsing it."""
    return None if text is None else orjson.Fragment(text)
