"""Request bodies that may be large: read after the caller is known, parsed fast, and off the event loop."""

import asyncio
import codecs
import difflib
from collections.abc import Awaitable, Callable
from email.message import Message
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from runflow import errors
from runflow.web.auth import principal

Model = TypeVar("Model")
"""A Pydantic model, or a dataclass of `runflow.protocol`."""

INLINE_BYTES = 128 * 1024
"""A body up to this size is handled on the event loop: a thread would cost more than it saves."""
MAX_REPORTED = 100
"""At most this many problems of one body are reported."""
SHOWN_NAME = 60
"""Longest name of a field that is quoted whole."""


def json_body(
    model: type[Model], *, caller: Callable[..., Any] = principal, optional: bool = False
) -> Callable[..., Awaitable[Model]]:
    """Return a dependency that reads the request body as `model`.

    Unlike a plain FastAPI body it is read only after authentication, by `caller`. An `optional` body may be empty: then
    every field has its default. Raises `UnsupportedMediaType`, `InvalidJson` (with the character) or `ValidationFailed`
    (with each field).
    """

    async def read(request: Request, _caller: Annotated[Any, Depends(caller)]) -> Model:
        raw = await request.body()
        if optional and not raw.strip():
            return model()  # some clients name a media type even for nothing
        _check_media_type(request.headers.get("content-type"))
        _check_encoding(request.headers.get("content-encoding"))
        if len(raw) <= INLINE_BYTES:
            return parse(model, raw)
        return await asyncio.to_thread(parse, model, raw)

    return read


def openapi_body(model: type[Any], *, required: bool = True) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that takes `json_body(model)`."""
    schema = _adapter(model).json_schema()
    content = {"application/json": {"schema": _inline(schema, schema.pop("$defs", {}))}}
    return {"requestBody": {"required": required, "content": content}}


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(model: type[Model]) -> TypeAdapter[Model]:
    """Return what checks this kind of body, made once."""
    found = _adapters.get(model)
    if found is None:
        found = _adapters[model] = TypeAdapter(model)
    return found


def parse(model: type[Model], raw: bytes) -> Model:
    """Read JSON text as `model`; raises what `json_body` raises. A byte order mark before it is passed over."""
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if not raw.strip():
        raise errors.InvalidJson("The request body is empty; this route takes a JSON object.")
    try:
        content = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise errors.InvalidJson(
            f"The request body is not valid JSON at character {error.pos}: {error.msg.split(':')[0]}."
        ) from None
    try:
        return _adapter(model).validate_python(content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[:MAX_REPORTED]
        raise RequestValidationError([_fault(model, dict(item)) for item in found]) from None


def _fault(model: type[Any], item: dict[str, Any]) -> dict[str, Any]:
    """Return one of Pydantic's errors as a fault of the body; where Pydantic speaks to programmers, in our words."""
    limits, loc = item.pop("ctx", {}), item["loc"]
    known = getattr(model, "model_fields", {})
    if item["type"] == "extra_forbidden":
        item["msg"] = _unknown_field(str(loc[-1]), model) if len(loc) == 1 else "Unknown field: leave it out"
    elif item["type"] == "too_short":
        item["msg"] = f"Takes {limits['min_length']} or more items, found {limits['actual_length']}"
    elif item["type"] == "too_long":
        item["msg"] = f"Takes at most {limits['max_length']} items, found {limits['actual_length']}"
    elif item["type"] == "string_pattern_mismatch" and loc[-1] in known:
        # A pattern is for programs; an example says more.
        examples = known[loc[-1]].examples or ()
        item["msg"] = " ".join(
            ["Is not of the form that is expected here", *(f"(such as {one})" for one in examples[:1])]
        )
    return {**item, "loc": ("body", *loc)}


def _unknown_field(name: str, model: type[Any]) -> str:
    known = [field.alias or one for one, field in model.model_fields.items()]
    close = difflib.get_close_matches(name, known, n=1) if len(name) <= SHOWN_NAME else []
    hint = f' Did you mean "{close[0]}"?' if close else ""
    shown = name if len(name) <= SHOWN_NAME else name[:SHOWN_NAME] + "…"
    return f'There is no field "{shown}" here.{hint} Expected are: {", ".join(known)}'


def _check_media_type(header: str | None) -> None:
    if header is None:
        return
    message = Message()
    message["content-type"] = header
    kind = message.get_content_type()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise errors.UnsupportedMediaType(f"The body was sent as {kind}. Send it as `Content-Type: application/json`.")


def _check_encoding(header: str | None) -> None:
    if header and header.strip().lower() != "identity":
        raise errors.UnsupportedMediaType(
            f"The body was sent with `Content-Encoding: {header[:SHOWN_NAME]}`, which is not read here. Send it as "
            "plain JSON."
        )


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace references to `$defs`, which an OpenAPI document does not have."""
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return _inline(definitions[reference.rpartition("/")[2]], definitions)
        return {key: _inline(value, definitions) for key, value in schema.items()}
    return [_inline(item, definitions) for item in schema] if isinstance(schema, list) else schema
