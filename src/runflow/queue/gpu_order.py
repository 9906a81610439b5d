"""When a GPU class of an explicit list has its turn: a pure decision.

`gpu_mode` `explicit` names classes in order of preference. At first only the best one may take a run; each time the run
has waited for the patience of one step, the next class may as well.
"""

from runflow.queue.lineup import ANY_GPU

STEP_SECONDS = 30.0
"""How long a run waits for the classes before one of its list (docs/api/workflows.md, "Creating a workflow")."""


def in_turn(gpu_class: str, gpu_code: str, waited_seconds: float) -> bool:
    """Tell whether a worker of this class may take a run of a lane that has waited for so long.

    `gpu_class` is the lane's: `auto`, or codes in order of preference, e.g. `L40S,A100`.
    """
    if gpu_class in (ANY_GPU, gpu_code):
        return True
    classes = gpu_class.split(",")
    return gpu_code in classes and max(0.0, waited_seconds) >= classes.index(gpu_code) * STEP_SECONDS


def next_turn(gpu_class: str, waited_seconds: float) -> tuple[list[str], str | None]:
    """Return the classes that may take a run now, and the one that comes next; that is None behind the last."""
    classes = gpu_class.split(",")
    turn = 1 + max(0, int(waited_seconds // STEP_SECONDS))
    return classes[:turn], classes[turn] if turn < len(classes) else None
