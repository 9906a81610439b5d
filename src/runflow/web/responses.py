"""JSON as docs/api.md, "Conventions", has it: `+00:00` times, decimal strings for money, hyphenated ids."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import orjson
from pydantic import PlainSerializer, WithJsonSchema
from starlette.responses import Response

Timestamp = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A time in a response model: ISO 8601 UTC with `+00:00`, never `Z` (docs/api.md, "Conventions")."""

_OPTIONS = orjson.OPT_NON_STR_KEYS


def _money(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:.6f}"
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def dumps(content: Any) -> bytes:
    """Return compact JSON. Decimals become strings with six decimals (USD)."""
    return orjson.dumps(content, default=_money, option=_OPTIONS)


def json_response(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON, skipping a second validation of what the service built."""
    return Response(dumps(content), status, headers, media_type="application/json")
