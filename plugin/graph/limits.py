"""What an input takes beside its type: bounds, steps, choices and lengths (docs/api/runs.md, "Limits")."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .coerce import ValueRefused, coerce_value, shown
from .media import shorten
from .runflow_nodes import InputType

Number = int | float

KEYS: dict[str, tuple[str, ...]] = {
    "min": ("min", "minimum"),
    "max": ("max", "maximum"),
    "step": ("step",),
    "choices": ("choices", "options", "enum"),
    "min_length": ("min_length", "minLength"),
    "max_length": ("max_length", "maxLength"),
    "pattern": ("pattern",),
}
"""Each limit by its name in `validator_attrs`, and the spellings that count, the first one first."""

_LISTED = 20
_CHOICES_SHOWN = 12
_SUGGESTED_LENGTH = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one input; None and an empty tuple are none.

    An int's `step` counts from `minimum`, or from 0, and is enforced; a float's is for forms alone, because decimal
    steps are no exact numbers. `pattern` is told to callers and never run here: it is somebody else's program.
    """

    minimum: Number | None = None
    maximum: Number | None = None
    step: Number | None = None
    choices: tuple[str | int | float, ...] = ()
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None

    @classmethod
    def of(cls, kind: InputType, attributes: object) -> Limits:
        """Read `validator_attrs`; what means nothing for this type, or cannot be understood, is left out."""
        if not isinstance(attributes, Mapping) or kind.is_media or kind is InputType.BOOLEAN:
            return NO_LIMITS
        given = {name: attributes[key] for name, keys in KEYS.items() for key in reversed(keys) if key in attributes}
        choices = given.get("choices")
        fits = isinstance(choices, (list, tuple)) and all(_fits(kind, choice) for choice in choices)
        known = tuple(dict.fromkeys(choices)) if fits and choices else ()
        if kind is InputType.STRING:
            pattern = given.get("pattern")
            return cls(
                choices=known,
                min_length=_length(given.get("min_length")),
                max_length=_length(given.get("max_length")),
                pattern=pattern if _is_pattern(pattern) else None,
            )
        step = _bound(kind, given.get("step"), None)
        return cls(
            minimum=_bound(kind, given.get("min"), math.ceil),
            maximum=_bound(kind, given.get("max"), math.floor),
            step=step if step is not None and step > 0 else None,
            choices=known,
        )

    @property
    def is_stepped(self) -> bool:
        """Whether values off the steps are refused."""
        return isinstance(self.step, int) and self.step > 1

    def to_attributes(self) -> dict[str, Any]:
        """The limits as `validator_attrs`; empty where there are none."""
        values = (self.minimum, self.maximum, self.step, list(self.choices) or None)
        found = dict(zip(KEYS, (*values, self.min_length, self.max_length, self.pattern), strict=True))
        return {name: value for name, value in found.items() if value is not None}

    def in_words(self) -> str:
        """Return them for people, such as "1 to 100, in steps of 8"; empty without any."""
        if self.choices:
            listed = ", ".join(map(str, self.choices[:_CHOICES_SHOWN]))
            more = len(self.choices) - _CHOICES_SHOWN
            return f"one of {listed}" + (f" and {more} more" if more > 0 else "")
        parts = [
            _range(self.minimum, self.maximum, ""),
            _range(self.min_length, self.max_length, " characters"),
            f"in steps of {self.step}" if self.step not in (None, 1) else "",
        ]
        return ", ".join(part for part in parts if part)

    def check(self, value: object) -> None:
        """Make sure that a value of the right type keeps the limits.

        Raises:
            ValueRefused: `not_a_choice`, `out_of_range`, `too_short` or `too_long`; names limit and value.
        """
        if self.choices and value not in self.choices:
            raise ValueRefused("not_a_choice", self._not_a_choice(value))
        if isinstance(value, str):
            self._check_length(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            self._check_number(value)

    def refusal(self, value: object) -> str | None:
        """Why `check` refuses a value, or None."""
        try:
            self.check(value)
        except ValueRefused as refused:
            return str(refused)
        return None

    def fault(self) -> str | None:
        """Why no value can keep the limits, or None."""
        for what, least, most in (
            ("", self.minimum, self.maximum),
            (" length", self.min_length, self.max_length),
        ):
            if least is not None and most is not None and least > most:
                return f"has a smallest{what} of {least}, which is above its largest{what} of {most}."
        bounds = replace(self, choices=())
        refused = next((refused for choice in self.choices if (refused := bounds.refusal(choice))), None)
        return f"has a choice that its other limits refuse: it {refused}" if refused else None

    def _check_number(self, value: Number) -> None:
        got = f"but got {value!r}."
        if self.minimum is not None and value < self.minimum:
            raise ValueRefused("out_of_range", f"takes at least {self.minimum!r}, {got}")
        if self.maximum is not None and value > self.maximum:
            raise ValueRefused("out_of_range", f"takes at most {self.maximum!r}, {got}")
        if isinstance(self.step, int) and self.is_stepped and isinstance(value, int):
            start = int(self.minimum or 0)
            below = value - (value - start) % self.step
            if value != below:
                above = below + self.step
                near = f"{below}" if self.maximum is not None and above > self.maximum else f"{below} or {above}"
                raise ValueRefused("out_of_range", f"takes steps of {self.step} from {start}, {got} Send {near}.")

    def _check_length(self, value: str) -> None:
        if self.min_length is not None and len(value) < self.min_length:
            raise ValueRefused("too_short", f"takes at least {self.min_length} characters, but got {len(value)}.")
        if self.max_length is not None and len(value) > self.max_length:
            raise ValueRefused("too_long", f"takes at most {self.max_length} characters, but got {len(value)}.")

    def _not_a_choice(self, value: object) -> str:
        listed = ", ".join(shorten(each) if isinstance(each, str) else repr(each) for each in self.choices[:_LISTED])
        more = ", …" if len(self.choices) > _LISTED else ""
        near: list[str] = []
        if isinstance(value, str) and len(value) <= _SUGGESTED_LENGTH:
            texts = [each for each in self.choices[:_LISTED] if isinstance(each, str)]
            near = difflib.get_close_matches(value, texts, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"takes one of {listed}{more}, but got {shown(value)}.{hint}"


NO_LIMITS = Limits()


def not_understood(kind: InputType, attributes: Mapping[str, Any]) -> Iterator[str]:
    """The keys of `validator_attrs` that name a limit and have no effect, because of their value or the type."""
    known = Limits.of(kind, attributes).to_attributes()
    for name, keys in KEYS.items():
        yield from (key for key in keys if attributes.get(key) is not None and name not in known)


def _bound(kind: InputType, value: object, rounded: Any) -> Number | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        if kind is InputType.INT and isinstance(value, float):
            value = rounded(value) if rounded is not None else int(value) if value.is_integer() else value
        bound = coerce_value(kind, value)
    except (ValueRefused, OverflowError, ValueError):
        return None
    return bound if isinstance(bound, (int, float)) else None


def _fits(kind: InputType, value: object) -> bool:
    """Whether a choice is of the type, and one that a dispatch accepts."""
    if kind is InputType.STRING:
        is_of_type = isinstance(value, str)
    else:
        numbers = (int,) if kind is InputType.INT else (int, float)
        is_of_type = isinstance(value, numbers) and not isinstance(value, bool)
    try:
        return is_of_type and coerce_value(kind, value) == value
    except ValueRefused:
        return False


def _length(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _is_pattern(pattern: object) -> bool:
    if not isinstance(pattern, str) or len(pattern) > 1000:
        return False
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _range(least: float | None, most: float | None, unit: str) -> str:
    if least is not None and most is not None:
        return f"{_short(least)} to {_short(most)}{unit}"
    if least is not None:
        return f"at least {_short(least)}{unit}"
    return "" if most is None else f"at most {_short(most)}{unit}"


def _short(number: float) -> str:
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)
