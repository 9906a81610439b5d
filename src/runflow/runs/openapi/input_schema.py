"""JSON Schema of one input, from its frozen row, and a value that it accepts. Pure."""

from collections.abc import Mapping
from typing import Any

from runflow.graph import InputType, Limits

_JSON_TYPES = {InputType.INT: "integer", InputType.FLOAT: "number", InputType.BOOLEAN: "boolean"}
_FORMS = "Takes `runflow://assets/{uuid}`, an `https://` URL, a `url` of this server, or a `data:` URI of up to 1 MiB."


def input_schema(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an input: type, label, helper text, limits, and the default that a run really uses."""
    kind = InputType(row["variable_type_code"])
    schema: dict[str, Any] = {
        "type": _JSON_TYPES.get(kind, "string"),
        "title": row["display_name"] or row["name"],
        "x-runflow-type": kind.value,
    }
    text = [row["description"]] if row["description"] else []
    default = used_default(row)
    if kind.is_media:
        schema["format"] = "uri"
        text.append(_FORMS)
        if default is not None:
            text.append("Left out, the workflow uses a file of its own.")
    else:
        limits = Limits.of(kind, row.get("validator_attrs"))
        schema |= _keywords(limits)
        if limits.is_stepped and "multipleOf" not in schema:
            text.append(f"In steps of {limits.step} from {limits.minimum}.")
        # A document whose default breaks its own limits is refused by many generators.
        if default is not None and limits.refusal(default) is None:
            schema.pop("pattern", None)
            schema["default"] = default
        elif default is not None:
            text.append(f"Left out, the workflow uses {default!r}.")
    if text:
        schema["description"] = " ".join(text)
    if not row["is_required"]:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def used_default(row: Mapping[str, Any]) -> Any:
    """Return what a run uses when the input is left out, as far as it is known; of a required one what forms show."""
    default = row["default_value"]
    return row.get("effective_default") if default is None else default


def example_of(row: Mapping[str, Any]) -> Any:
    """Return a value that the input accepts; None where none can be made up."""
    kind = InputType(row["variable_type_code"])
    if kind.is_media:
        ending = "photo.png" if kind is InputType.IMAGE else "file.bin"
        return f"https://your-site.example/{ending}"
    limits = Limits.of(kind, row.get("validator_attrs"))
    made_up: dict[InputType, list[Any]] = {
        InputType.STRING: ["a sea otter holding a smooth pebble", "otter", "a", ""],
        InputType.INT: [1, 0, limits.minimum, _largest(limits)],
        InputType.FLOAT: [1.0, 0.5, 0.0, limits.minimum, limits.maximum],
        InputType.BOOLEAN: [True],
    }
    # A pattern of others is never run here: whether a value matches stays open.
    guessed = [] if limits.pattern is not None else [*limits.choices, *made_up[kind]]
    values = (value for value in (used_default(row), *guessed) if value is not None)
    return next((value for value in values if limits.refusal(value) is None), None)


def _largest(limits: Limits) -> int | None:
    """Return the largest value of an integer input, on its steps."""
    if not isinstance(limits.maximum, int):
        return None
    start = int(limits.minimum or 0)
    return limits.maximum - (limits.maximum - start) % (limits.step if isinstance(limits.step, int) else 1)


def _keywords(limits: Limits) -> dict[str, Any]:
    # JSON Schema counts multiples from 0, a step counts from the minimum.
    is_multiple = limits.is_stepped and (limits.minimum or 0) % (limits.step or 1) == 0
    found = {
        "minimum": limits.minimum,
        "maximum": limits.maximum,
        "multipleOf": limits.step if is_multiple else None,
        "minLength": limits.min_length,
        "maxLength": limits.max_length,
        "pattern": limits.pattern,
        "enum": list(limits.choices) or None,
        "x-runflow-step": limits.step,
    }
    return {name: value for name, value in found.items() if value is not None}
