"""One value against one type: the rules of docs/api/runs.md, "Values"."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .media import (
    MAX_DATA_BYTES,
    MediaKind,
    MediaReferenceError,
    looks_like_reference,
    media_reference,
    path_fault,
    shorten,
)
from .runflow_nodes import InputType

DefaultValue = str | int | float | bool | None
"""A default as it stands in a row: null means there is none."""

MIN_INT = -(2**63)
MAX_INT = 2**64 - 1
"""ComfyUI's seeds use all 64 bits unsigned, hence not 2**63 - 1."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class ValueRules:
    """What the operator allows in values. Sizes are in bytes: of the UTF-8 text, of the decoded data URI."""

    allow_http: bool = False
    max_string_bytes: int = 1024 * 1024
    max_data_bytes: int = MAX_DATA_BYTES


DEFAULT_RULES = ValueRules()


class ValueRefused(ValueError):
    """The value does not fit the type. `type` is the code of the problem, the message says what would fit."""

    def __init__(self, type_: str, message: str) -> None:
        self.type = type_
        super().__init__(message)


def coerce_value(kind: InputType, value: object, rules: ValueRules = DEFAULT_RULES) -> str | int | float | bool:
    """Turn what a caller sent into what the prompt gets, by the rules of docs/api/runs.md, "Values".

    STRING takes text only. INT takes JSON integers and integral strings, FLOAT numbers and numeric strings, both never
    booleans; FLOAT is finite, INT fits 64 bits. BOOLEAN takes booleans and true/false/1/0/yes/no/on/off in any case.
    IMAGE and FILE take a media reference and return its normal form.

    Raises:
        ValueRefused: with the type `type_error`, `out_of_range`, `too_long` or `invalid_reference`.
    """
    if kind is InputType.INT:
        return _integer(value)
    if kind is InputType.FLOAT:
        return _number(value)
    if kind is InputType.BOOLEAN:
        return _boolean(value)
    if not isinstance(value, str):
        what = "a text" if kind is InputType.STRING else "a text with a file reference (runflow://, https:// or data:)"
        raise ValueRefused("type_error", f"takes {what}, but got {shown(value)}.")
    return _string(value, rules) if kind is InputType.STRING else _reference(value, rules)


def coerce_default(kind: InputType, value: object, rules: ValueRules = DEFAULT_RULES) -> DefaultValue:
    """Like `coerce_value`, for the default of a row: null is none, and media may also name a file of the input folder.

    Raises:
        ValueRefused: as `coerce_value`; a local name that leaves the input folder is an `invalid_reference`.
    """
    if value is None or (kind.is_media and value == ""):
        return None
    if kind.is_media and isinstance(value, str) and not looks_like_reference(value):
        fault = path_fault(value) or text_fault(value)
        if fault:
            raise ValueRefused("invalid_reference", f"{shorten(value)} is no name of a file under input/: {fault}.")
        return value
    return coerce_value(kind, value, rules)


def text_fault(value: str) -> str | None:
    """Why a text can be neither stored nor sent as UTF-8 JSON, or None."""
    if "\x00" in value:
        return "it contains a NUL character"
    if _SURROGATE.search(value):
        return "it contains half of a surrogate pair"
    return None


def _integer(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        number = int(value)
    else:
        hint = f" Send {int(value)}." if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else ""
        raise ValueRefused("type_error", f"takes an integer, but got {shown(value)}.{hint}")
    if not MIN_INT <= number <= MAX_INT:
        raise ValueRefused("out_of_range", f"takes an integer of 64 bits ({MIN_INT} to {MAX_INT}).")
    return number


def _number(value: object) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_text = isinstance(value, str) and len(value) <= 400 and _NUMBER.fullmatch(value.strip())
    if not is_number and not is_text:
        raise ValueRefused("type_error", f"takes a number, but got {shown(value)}.")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueRefused("out_of_range", "takes a finite number.")
    return number


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, str)):
        word = str(value).strip().lower() if isinstance(value, str) or value in (0, 1) else ""
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise ValueRefused("type_error", f"takes true or false (or 1/0, yes/no, on/off), but got {shown(value)}.")


def _string(value: str, rules: ValueRules) -> str:
    fault = text_fault(value)
    if fault:
        raise ValueRefused("type_error", f"takes a text, but this one cannot be used: {fault}.")
    # Characters are at least one byte each, so a text that is far too long is not encoded first.
    if len(value) > rules.max_string_bytes or len(value.encode()) > rules.max_string_bytes:
        raise ValueRefused(
            "too_long",
            f"takes a text of at most {rules.max_string_bytes} bytes. Send longer text as a file input.",
        )
    return value


def _reference(value: str, rules: ValueRules) -> str:
    fault = text_fault(value)
    if fault:
        raise ValueRefused("invalid_reference", f"takes a file reference, but this one cannot be used: {fault}.")
    try:
        reference = media_reference(value, max_data_bytes=rules.max_data_bytes)
    except MediaReferenceError as error:
        raise ValueRefused("invalid_reference", f"takes a file reference. {error}") from None
    if reference.kind is MediaKind.HTTP and not rules.allow_http:
        raise ValueRefused(
            "invalid_reference",
            f"takes https:// URLs only, but got {shorten(value)}. Use https or upload the file as an asset.",
        )
    return reference.value


def shown(value: object) -> str:
    """A value in words, for messages; long ones are cut."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shorten(value)}"
    if isinstance(value, (int, float)):
        return f"the number {value!r}" if isinstance(value, float) or abs(value) < 10**40 else "a very large number"
    return "an object" if isinstance(value, dict) else "an array" if isinstance(value, list) else type(value).__name__
