"""What can be wrong with a prompt or an interface, as values and as the errors that carry them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

MAX_PROBLEMS = 50
"""An error reports at most this many problems; one more says how many were left out."""


@dataclass(frozen=True, slots=True)
class GraphProblem:
    """One thing that has to be repaired: where it is, what it is, and what to do next."""

    message: str
    next_step: str
    node_id: str | None = None
    class_type: str | None = None
    title: str | None = None

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"

    def to_dict(self) -> dict[str, str | None]:
        """The problem with its field names as keys."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GraphWarning:
    """Something that works but may surprise later: an element of `warnings[]` (docs/api/workflows.md, "Warnings")."""

    node_id: str | None
    message: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"

    def to_dict(self) -> dict[str, str | None]:
        """The warning with its wire names as keys."""
        return asdict(self)


class GraphError(ValueError):
    """A prompt or interface cannot be used. `problems` names each place; the message joins them."""

    problems: tuple[GraphProblem, ...]

    def __init__(self, problems: Iterable[GraphProblem]) -> None:
        found = tuple(problems)
        if len(found) > MAX_PROBLEMS:
            left_out = len(found) - MAX_PROBLEMS
            more = GraphProblem(f"{left_out} more problems were found.", "Repair the ones named first.")
            found = (*found[:MAX_PROBLEMS], more)
        self.problems = found
        super().__init__(" ".join(str(problem) for problem in found))


class PromptError(GraphError):
    """The workflow is not a well-formed API-format prompt."""


class InterfaceError(GraphError):
    """The inputs or outputs that the prompt declares contradict each other or name what is not there."""


class BindError(GraphError):
    """Values cannot be put into the prompt."""


class OutputError(GraphError):
    """The engine's result does not hold what the interface promises."""
