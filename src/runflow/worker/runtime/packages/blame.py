"""Which packs are to blame when no set of packages satisfies all of them, found by resolving without some of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Fails = Callable[[Sequence[str]], str | None]
"""Resolves ComfyUI with these packs; returns None where that works, else why not."""

MOST_TRIALS = 120
"""Most resolutions that a search takes; each takes a second or less, and people wait."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Packs to blame, and the reason as the resolver told it. None of them: ComfyUI alone cannot be resolved.

    `apart` says that each of them fails by itself; else they fail together, and without any one of them all is well.
    """

    packs: tuple[str, ...]
    reason: str
    apart: bool = False


def find_blame(packs: Sequence[str], reason: str, fails: Fails, most_trials: int = MOST_TRIALS) -> Blame:
    """Return who is to blame for packs that fail together for a `reason`.

    Where the trials run out, some that are innocent may be left among them.
    """
    if why := fails([]):
        return Blame((), why)
    alone = {pack: why for pack in packs[:most_trials] if (why := fails([pack]))}
    if alone:
        return Blame(tuple(alone), next(iter(alone.values())), apart=True)
    guilty = list(packs)
    for pack in packs[: max(0, most_trials - len(packs))]:
        rest = [one for one in guilty if one != pack]
        if why := fails(rest):  # it fails without this one as well
            guilty, reason = rest, why
    return Blame(tuple(guilty), reason)
