"""A value to try an input with: in the command that a fresh endpoint is shown with, on the node and in a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .coerce import ValueRefused
from .limits import Limits
from .runflow_nodes import InputType
from .spec import InputSpec

_SENTENCE = "a sea otter holding a smooth pebble"
_LONGEST_TEXT = 1000
_MEDIA = {InputType.IMAGE: "https://your-site.example/photo.png", InputType.FILE: "https://your-site.example/file.bin"}


def used_default(spec: InputSpec) -> Any:
    """What a run uses when the input is left out, as far as it is known; None: nothing is known."""
    return spec.effective_default if spec.default_value is None else spec.default_value


def example_value(spec: InputSpec) -> Any:
    """The value that a run would use anyway, or one made up within the limits, where one of a few is within them."""
    kind, limits = spec.variable_type_code, spec.limits
    if kind.is_media:
        return _MEDIA[kind]
    made_up: dict[InputType, Iterable[Any]] = {
        InputType.STRING: (_text(limits),),
        InputType.INT: (1, limits.minimum, limits.step, 0, limits.maximum),
        InputType.FLOAT: (0.5, limits.minimum, limits.maximum),
        InputType.BOOLEAN: (True,),
    }
    candidates = [each for each in (used_default(spec), *limits.choices, *made_up[kind]) if each is not None]
    return next((each for each in candidates if _keeps(limits, each)), candidates[0])


def _text(limits: Limits) -> str:
    """A text that is as long as it has to be, unless that is no length for a command."""
    times = 1 + min(limits.min_length or 0, _LONGEST_TEXT) // len(_SENTENCE)
    return " ".join([_SENTENCE] * times)[: limits.max_length]


def _keeps(limits: Limits, value: Any) -> bool:
    try:
        limits.check(value)
    except ValueRefused:
        return False
    return True
