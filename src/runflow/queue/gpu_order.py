"""When a GPU class has its turn for a lane's runs, and whether its memory is enough: pure decisions.

`gpu_mode` `explicit` names classes in order of preference; with `auto` the order is that of their prices. At first
only the best may take a run; each time the run has waited for the patience of one step, the next may as well.
"""

from collections.abc import Iterable, Mapping, Sequence

from runflow.protocol.workers import CPU
from runflow.queue.lineup import ANY_GPU
from runflow.workers.queries import GpuClass

STEP_SECONDS = 30.0
"""How long a run waits for the classes before one of its list (docs/api/workflows.md, "Creating a workflow")."""


def fits(least_gb: int, gpu_code: str, memory_gb: int) -> bool:
    """Tell whether a worker's GPU has so many GiB. Where its memory is not known, it is believed to be enough.

    What a worker without a GPU needs is the machine's memory, of which nothing is foreseen.
    """
    return gpu_code == CPU or memory_gb == 0 or memory_gb >= least_gb


def turns_of(classes: Iterable[GpuClass]) -> dict[str, int]:
    """Return the turn of each of these GPU classes, 0 first: the cheapest, then the next price, and so on."""
    gpus = sorted(
        (one for one in classes if one.code != CPU), key=lambda one: (one.price_per_second, one.memory_gb, one.code)
    )
    turn_of = {price: turn for turn, price in enumerate(dict.fromkeys(one.price_per_second for one in gpus))}
    return {one.code: turn_of[one.price_per_second] for one in gpus}


def have_order(classes: Iterable[GpuClass], gpu_code: str) -> bool:
    """Tell whether it matters to a worker of this class which other ones are there."""
    gpus = [one for one in classes if one.code != CPU]
    if gpu_code == CPU:
        return bool(gpus)
    return len({one.price_per_second for one in gpus}) > 1


def in_turn(gpu_class: str, gpu_code: str, waited_seconds: float, turns: Mapping[str, int] | None = None) -> bool:
    """Tell whether a worker of this class may take a run of a lane that has waited for so long.

    `gpu_class` is the lane's: `auto`, or codes in order of preference, e.g. `L40S,A100`. `turns`, for `auto`: those of
    the classes that could take it; None: their order does not matter. A worker without a GPU takes what none of them
    could.
    """
    waited_seconds = max(0.0, waited_seconds)
    if gpu_class != ANY_GPU:
        classes = gpu_class.split(",")
        return gpu_code in classes and waited_seconds >= classes.index(gpu_code) * STEP_SECONDS
    if not turns:
        return True
    if gpu_code == CPU:
        return False
    # Who is not known yet, having come this moment, is the last.
    turn = turns.get(gpu_code)
    return waited_seconds >= STEP_SECONDS * (max(turns.values()) + 1 if turn is None else turn)


def order_of(gpu_class: str, turns: Mapping[str, int]) -> list[list[str]]:
    """Return the classes that may take a lane's runs, by turn. `turns`: as of `in_turn`."""
    if gpu_class != ANY_GPU:
        return [[code] for code in gpu_class.split(",")]
    order: list[list[str]] = [[] for _ in range(max(turns.values(), default=-1) + 1)]
    for code, turn in turns.items():
        order[turn].append(code)
    return order


def next_turn(order: Sequence[Sequence[str]], waited_seconds: float) -> tuple[list[str], list[str]]:
    """Return the classes that may take a run now, and those that come next: none behind the last."""
    turn = 1 + max(0, int(waited_seconds // STEP_SECONDS))
    return [code for codes in order[:turn] for code in codes], list(order[turn]) if turn < len(order) else []
