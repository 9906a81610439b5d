"""How to call a fresh endpoint: the command that is shown after a deploy, on the node and in a terminal."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import Any

from .coerce import ValueRefused
from .limits import Limits
from .runflow_nodes import InputType
from .spec import InputSpec, Interface

_WAIT_SECONDS = 60
_ONE_LINE = 80
_SENTENCE = "a sea otter holding a smooth pebble"
_LONGEST_TEXT = 1000
_MEDIA = {InputType.IMAGE: "https://your-site.example/photo.png", InputType.FILE: "https://your-site.example/file.bin"}


def curl_command(runs_url: str, interface: Interface) -> str:
    """A command that runs the endpoint and waits for its end; the key comes from the shell's $RUNFLOW_API_KEY."""
    values = {spec.name: example_value(spec) for spec in interface.inputs if _is_shown(spec)}
    body = json.dumps({"input": values}, ensure_ascii=False)
    if len(body) > _ONE_LINE:
        body = json.dumps({"input": values}, ensure_ascii=False, indent=2)
    return (
        f"curl {shlex.quote(f'{runs_url}?wait={_WAIT_SECONDS}')} \\\n"
        '  -H "Authorization: Bearer $RUNFLOW_API_KEY" -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(body)}"
    )


def _is_shown(spec: InputSpec) -> bool:
    """Whether to send it: not where leaving it out says something that no value says as well."""
    is_known = used_default(spec) is not None and not spec.variable_type_code.is_media
    return spec.is_required or is_known


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
