"""A run's `input` against the interface of its version."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from .coerce import DEFAULT_RULES, ValueRefused, ValueRules, coerce_value
from .media import MediaReference, looks_like_reference, media_reference, shorten
from .spec import Interface

Value = str | int | float | bool

MAX_VALUE_PROBLEMS = 100
"""At most this many problems of one `input` are reported."""

_MAX_SUGGESTED_LENGTH = 100
_MAX_SUGGESTIONS = 3
_MAX_COMPARED = 100
_LISTED_NAMES = 20


@dataclass(frozen=True, slots=True)
class ValueProblem:
    """One key of `input` that cannot be accepted. The server answers it as `{loc: ["body","input",key], msg, type}`.

    `type` is `unknown_input`, `missing`, `type_error`, `out_of_range`, `too_long`, `too_short`, `not_a_choice` or
    `invalid_reference`; `key` is empty when `input` itself is not an object.
    """

    key: str
    message: str
    type: str

    def to_dict(self) -> dict[str, str]:
        """The problem with its field names as keys."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Validated:
    """The accepted values by input name (omitted and null ones are absent), and what was refused."""

    values: dict[str, Value]
    problems: tuple[ValueProblem, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was refused."""
        return not self.problems


def validate_values(interface: Interface, values: object, rules: ValueRules = DEFAULT_RULES) -> Validated:
    """Check and convert the `input` of a run; null counts as omitted (docs/api/runs.md, "Inputs that are left out").

    Nothing is looked up: that an asset exists, or that a URL may be fetched, is for the caller to check, who finds the
    references of the accepted values with `media_inputs`.
    """
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        problem = ValueProblem(
            "", 'input must be an object with one entry per input, such as {"prompt": "a cat"}.', "type_error"
        )
        return Validated({}, (problem,))
    accepted: dict[str, Value] = {}
    problems: list[ValueProblem] = []
    for spec in interface.inputs:
        value = values.get(spec.name)
        if value is None:
            if spec.is_required:
                message = f'Input "{spec.name}" ({spec.variable_type_code}) is required. Add it to input.'
                problems.append(ValueProblem(spec.name, message, "missing"))
            continue
        try:
            accepted[spec.name] = coerce_value(spec.variable_type_code, value, rules)
            spec.limits.check(accepted[spec.name])
        except ValueRefused as refused:
            problems.append(ValueProblem(spec.name, f'Input "{spec.name}" {refused}', refused.type))
    names = [spec.name for spec in interface.inputs]
    known = frozenset(names)
    for at, key in enumerate(key for key in values if key not in known):
        if len(problems) >= MAX_VALUE_PROBLEMS:
            break
        # To find the nearest name takes a while, and callers choose how many keys they send.
        message = _unknown(key, names, suggest=at < _MAX_SUGGESTIONS and len(names) <= _MAX_COMPARED)
        problems.append(ValueProblem(str(key), message, "unknown_input"))
    return Validated(accepted, tuple(problems[:MAX_VALUE_PROBLEMS]))


def media_inputs(interface: Interface, values: Mapping[str, object]) -> dict[str, MediaReference]:
    """The files that a run has to fetch before `bind`: by input name, of the given values and of the defaults.

    A default that names a file of the input folder is one of the version's resources and is not listed.

    Raises:
        MediaReferenceError: a value did not pass `validate_values`.
    """
    found: dict[str, MediaReference] = {}
    for spec in interface.inputs:
        if not spec.variable_type_code.is_media:
            continue
        value = values.get(spec.name)
        if value is None and isinstance(spec.default_value, str) and looks_like_reference(spec.default_value):
            value = spec.default_value
        if value is not None:
            found[spec.name] = media_reference(str(value))
    return found


def _unknown(key: object, known: list[str], *, suggest: bool) -> str:
    text = str(key)
    if not known:
        return f"Unknown input {shorten(text)}. This workflow takes no inputs."
    close = _closest(text, known) if suggest and len(text) <= _MAX_SUGGESTED_LENGTH else None
    listed = ", ".join(known[:_LISTED_NAMES]) + (", …" if len(known) > _LISTED_NAMES else "")
    hint = f' Did you mean "{close}"?' if close else ""
    return f"Unknown input {shorten(text)}.{hint} This workflow takes: {listed}."


def _closest(key: str, names: list[str]) -> str | None:
    by_folded = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches(key.lower(), by_folded, n=1)
    return by_folded[close[0]] if close else None
