"""The types of single fields in request bodies: names, texts that the database can hold, documents, GPU codes."""

import re
from enum import StrEnum
from typing import Annotated, Any

import orjson
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from runflow.graph import InputType, SlugError
from runflow.slugs import SlugRule
from runflow.workflows.categories import CATEGORIES

WORKFLOW = SlugRule(
    frozenset(
        {
            "categories",
            "inputs",
            "outputs",
            "versions",
            "prebuild",
            "rollbacks",
            "runtime",
            "restorations",
            "runs",
            "batches",
            "evaluation-stats",
            "run-performance-stats",
            "evaluation-issue-categories",
            "examples",
            "golden-runs",
            "cancellation",
            "promotions",
            "openapi.json",
        }
    )
)
"""Reserved: fixed words of the routes below `/v1/comfyui-workflows`; as slugs they would be unreachable."""

MAX_NAME = 255
"""Longest name of a workflow, input or output, in characters. Names of rows are in an index, which bounds them."""

MAX_TEXT = 10_000
"""Longest description, in characters."""

_GPU_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}")

_GPU_KEYS = ("gpu_model_code", "code", "gpu_code")


class WorkflowStatus(StrEnum):
    """Whether a workflow takes runs."""

    ACTIVE = "active"
    DISABLED = "disabled"


class GpuMode(StrEnum):
    """How the GPU of a run is chosen: the cheapest that fits, or one of an explicit list."""

    AUTO = "auto"
    EXPLICIT = "explicit"


def _storable(text: str) -> str:
    if "\0" in text:
        raise PydanticCustomError("nul_character", "Text must not contain NUL characters (\\u0000)")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Must not be empty")
    return text


def _slug(slug: str) -> str:
    try:
        return WORKFLOW.checked(slug)
    except SlugError as error:
        raise PydanticCustomError("slug", "{reason}", {"reason": str(error)}) from None


def _category(code: str) -> str:
    if code not in CATEGORIES:
        raise PydanticCustomError("category", "Unknown category; use one of {codes}", {"codes": ", ".join(CATEGORIES)})
    return code


def _variable_type(code: Any) -> InputType:
    try:
        return InputType.parse(code)
    except ValueError as error:
        raise PydanticCustomError("variable_type", "{reason}", {"reason": str(error)}) from None


def _gpu_code(item: Any) -> str:
    if isinstance(item, dict):
        item = next((item[key] for key in _GPU_KEYS if key in item), None)
    if not isinstance(item, str) or not _GPU_CODE.fullmatch(item) or item.lower() == "auto":
        raise PydanticCustomError("gpu_code", 'Send a GPU code such as "L40S", or {{"gpu_model_code": "L40S"}}')
    return item


def _object(value: Any) -> Any:
    if value is not None and not isinstance(value, dict):
        raise PydanticCustomError("json_object", "Must be a JSON object")
    return value


def _attributes(value: Any) -> Any:
    try:
        # Frozen interfaces and answers nest it some levels deeper.
        orjson.dumps([[[[[[[[_object(value)]]]]]]]])
    except TypeError:
        raise PydanticCustomError("too_deep", "Objects and arrays may not be nested this deep") from None
    return value


def _object_or_array(value: Any) -> Any:
    if value is not None and not isinstance(value, dict | list):
        raise PydanticCustomError("json_document", "Must be a JSON object or array")
    return value


_OBJECT: dict[str, Any] = {"anyOf": [{"type": "object", "additionalProperties": True}, {"type": "null"}]}

_DOCUMENT: dict[str, Any] = {
    "anyOf": [{"type": "object", "additionalProperties": True}, {"type": "array", "items": {}}, {"type": "null"}]
}

Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_storable)]
"""A description or label: may be empty."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME), AfterValidator(_storable), AfterValidator(_not_blank)]
"""A name or key: not blank."""

Code = Annotated[str, Field(max_length=100), AfterValidator(_storable)]
"""A code that is stored without being interpreted."""

Slug = Annotated[str, AfterValidator(_slug)]
"""A slug that a workflow may have."""

CategoryCode = Annotated[str, AfterValidator(_category), WithJsonSchema({"enum": list(CATEGORIES)})]
"""A code of the category table."""

VariableType = Annotated[
    InputType,
    BeforeValidator(_variable_type),
    WithJsonSchema({"enum": [kind.value for kind in InputType], "description": "Upper case is accepted."}),
]
"""Type of an input or output."""

GpuCode = Annotated[
    str,
    BeforeValidator(_gpu_code),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"gpu_model_code": {"type": "string"}},
                    "required": ["gpu_model_code"],
                },
            ]
        }
    ),
]
"""A GPU code, sent as text or as an object that holds it."""

JsonObject = Annotated[Any, AfterValidator(_object), WithJsonSchema(_OBJECT)]
"""An object that is stored and answered as it was sent."""

Attributes = Annotated[Any, AfterValidator(_attributes), WithJsonSchema(_OBJECT)]
"""A small object of parameters."""

JsonDocument = Annotated[Any, AfterValidator(_object_or_array), WithJsonSchema(_DOCUMENT)]
"""An object or array that is stored and answered as it was sent."""


NUMBER = re.compile(r"[1-9][0-9]{0,8}")
"""How a version's number is written."""


def version_number(value: Any) -> int:
    """Return the number of a version that is sent as text or as an integer. Raises Pydantic's error for others."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not NUMBER.fullmatch(text):
        raise PydanticCustomError("version", 'Send the number of a version, such as "3"')
    return int(text)


NUMBER_SCHEMA: list[dict[str, Any]] = [
    {"type": "string", "pattern": f"^{NUMBER.pattern}$", "examples": ["3"]},
    {"type": "integer", "minimum": 1, "maximum": 999_999_999},
]
"""What a version's number may be, as alternatives of a JSON Schema."""

VersionNumber = Annotated[int, PlainValidator(version_number), WithJsonSchema({"anyOf": NUMBER_SCHEMA})]
"""The number of a version, sent as text or as an integer."""
