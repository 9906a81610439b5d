"""The one interface of judges."""

from typing import Protocol, runtime_checkable

from runflow.evaluations.judges.subject import Subject
from runflow.evaluations.judges.verdict import Verdict


@runtime_checkable
class Judge(Protocol):
    """Looks at pictures for one kind of fault.

    - `name`: unique, lower case with underscores; what records and statistics call it.
    - `category`: the kind of fault, a lower-case word; several judges may share one.
    - `description`: one sentence, shown to callers.
    - `weight`: how much its verdict counts beside the others', above 0.

    A judge with an attribute `is_gate = True` is a hard gate: where it does not pass, the picture does not pass.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - said above

    @property
    def category(self) -> str: ...  # noqa: D102

    @property
    def description(self) -> str: ...  # noqa: D102

    @property
    def weight(self) -> float: ...  # noqa: D102

    def judge(self, subject: Subject) -> Verdict | None:
        """Return the verdict, or None where this judge has nothing to say about this subject."""
