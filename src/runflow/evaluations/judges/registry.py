"""Which judges there are: the built-in ones, and those of installed packages."""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from math import inf

from runflow.evaluations.judges.blur import Blur
from runflow.evaluations.judges.broken import BrokenOutput
from runflow.evaluations.judges.duplicate import NearDuplicate
from runflow.evaluations.judges.exposure import ClippingAndExposure
from runflow.evaluations.judges.judge import Judge
from runflow.evaluations.judges.noise import Noise
from runflow.evaluations.judges.size import RequestedSize

GROUP = "runflow.judges"
"""The entry point group in which packages offer judges; each names a class or a function that makes one."""


class InvalidJudge(Exception):
    """A plug-in offers something that is no judge, or a second judge of the same name."""


def built_in() -> tuple[Judge, ...]:
    """Return the judges that need no model, the gate first: it decodes the picture for all of them."""
    return (BrokenOutput(), RequestedSize(), Blur(), ClippingAndExposure(), Noise(), NearDuplicate())


@cache
def all_judges() -> tuple[Judge, ...]:
    """Return the built-in judges, then those of installed packages by name.

    Raises `InvalidJudge`, and whatever a plug-in raises when it is loaded: the operator installed it to be used.
    """
    entries = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    return with_plugins(built_in(), [(entry.value, entry.load()()) for entry in entries])


def with_plugins(judges: Sequence[Judge], offered: Sequence[tuple[str, object]]) -> tuple[Judge, ...]:
    """Return the judges and the offered ones, each given with where it comes from. Raises `InvalidJudge`."""
    found = list(judges)
    for origin, judge in offered:
        if not isinstance(judge, Judge):
            raise InvalidJudge(f"{origin} is no judge: it lacks name, category, description, weight or judge().")
        if not 0 < judge.weight < inf:
            reason = f"the judge {judge.name!r} has the weight {judge.weight}; it must be a number above 0."
            raise InvalidJudge(f"{origin}: {reason}")
        if any(judge.name == known.name for known in found):
            raise InvalidJudge(f"{origin}: there is a judge {judge.name!r} already.")
        found.append(judge)
    return tuple(found)


def is_gate(judge: Judge) -> bool:
    """Tell whether a picture fails as a whole where this judge does not pass it."""
    return bool(getattr(judge, "is_gate", False))
