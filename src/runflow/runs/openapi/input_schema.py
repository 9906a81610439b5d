"""JSON Schema of one input, from its frozen row, and a value that it accepts. Pure."""

import math
import re
from collections.abc import Mapping
from typing import Any

from runflow.graph import InputType, ValueRefused, coerce_value

_JSON_TYPES = {InputType.INT: "integer", InputType.FLOAT: "number", InputType.BOOLEAN: "boolean"}
_FORMS = "Takes `runflow://assets/{uuid}`, an `https://` URL, a `url` of this server, or a `data:` URI of up to 1 MiB."
_NUMBERS = {"minimum": ("min", "minimum"), "maximum": ("max", "maximum")}
_LENGTHS = {"minLength": ("min_length", "minLength"), "maxLength": ("max_length", "maxLength")}
_CHOICES = ("choices", "options", "enum")


def input_schema(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an input: type, label, helper text, default, and the limits in its `validator_attrs`."""
    kind = InputType(row["variable_type_code"])
    schema: dict[str, Any] = {
        "type": _JSON_TYPES.get(kind, "string"),
        "title": row["display_name"] or row["name"],
        "x-runflow-type": kind.value,
    }
    text = [row["description"]] if row["description"] else []
    default = row["default_value"]
    if kind.is_media:
        schema["format"] = "uri"
        text.append(_FORMS)
        if default is not None:
            text.append("Left out, the workflow uses a file of its own.")
    else:
        schema |= _limits(kind, row.get("validator_attrs"))
        if default is not None:
            # A default that its own limits refuse still is what the workflow uses.
            schema = {name: limit for name, limit in schema.items() if _allows(name, limit, default)}
            schema["default"] = default
    if text:
        schema["description"] = " ".join(text)
    if not row["is_required"]:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def example_of(row: Mapping[str, Any]) -> Any:
    """Return a value that the input accepts; None where none can be made up."""
    kind = InputType(row["variable_type_code"])
    if kind.is_media:
        ending = "photo.png" if kind is InputType.IMAGE else "file.bin"
        return f"https://your-site.example/{ending}"
    schema = input_schema(row)
    numbers = [schema.get("minimum"), schema.get("maximum")]
    made_up: dict[InputType, list[Any]] = {
        InputType.STRING: ["a sea otter holding a smooth pebble", "otter", "a", ""],
        InputType.INT: [1, 0, *numbers],
        InputType.FLOAT: [1.0, 0.5, 0.0, *numbers],
        InputType.BOOLEAN: [True],
    }
    for value in [row["default_value"], *(schema.get("enum") or []), *made_up[kind]]:
        if value is not None and all(_allows(name, limit, value) for name, limit in schema.items()):
            return value
    return None


def _limits(kind: InputType, attributes: Any) -> dict[str, Any]:
    """Return the limits that the attributes name in a way that can be understood."""
    if not isinstance(attributes, Mapping) or kind is InputType.BOOLEAN:
        return {}
    limits: dict[str, Any] = {}
    if kind is InputType.STRING:
        for name, spellings in _LENGTHS.items():
            value = _first(attributes, spellings)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                limits[name] = value
        pattern = attributes.get("pattern")
        if isinstance(pattern, str) and _is_pattern(pattern):
            limits["pattern"] = pattern
    else:
        for name, spellings in _NUMBERS.items():
            value = _first(attributes, spellings)
            if _is_number(value) and kind is InputType.INT:
                value = math.ceil(value) if name == "minimum" else math.floor(value)
            if _fits(kind, value):
                limits[name] = value
    choices = _first(attributes, _CHOICES)
    if isinstance(choices, list) and choices and all(_fits(kind, choice) for choice in choices):
        limits["enum"] = list(dict.fromkeys(choices))
    return limits


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if name in attributes), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fits(kind: InputType, value: Any) -> bool:
    """Tell whether a value is of the type, and one that a dispatch accepts."""
    if kind is InputType.STRING:
        is_of_type = isinstance(value, str)
    else:
        is_of_type = _is_number(value) and (kind is InputType.FLOAT or isinstance(value, int))
    try:
        return is_of_type and coerce_value(kind, value) == value
    except ValueRefused:
        return False


def _is_pattern(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return len(pattern) <= 1000


def _allows(name: str, limit: Any, value: Any) -> bool:
    match name:
        case "minimum":
            return bool(value >= limit)
        case "maximum":
            return bool(value <= limit)
        case "minLength":
            return bool(len(value) >= limit)
        case "maxLength":
            return bool(len(value) <= limit)
        case "enum":
            return bool(value in limit)
        case "pattern":
            # A pattern of others is never run here: whether the value matches stays open.
            return False
        case _:
            return True
