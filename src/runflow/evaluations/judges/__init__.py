"""Judges: each looks at one picture for one kind of fault. How to write one: docs/evaluations.md.

Nothing here imports the server: judges work in processes of their own, which hold neither its connections nor its keys.
And the server, which imports this package for the words that it shares with those processes, loads neither numpy nor
Pillow by that: each name is imported when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runflow.evaluations.judges.judge import Judge
    from runflow.evaluations.judges.picture import Picture
    from runflow.evaluations.judges.subject import Reference, Subject
    from runflow.evaluations.judges.verdict import Issue, Severity, Verdict

__all__ = ["Issue", "Judge", "Picture", "Reference", "Severity", "Subject", "Verdict"]

_MODULES = {
    "Issue": "verdict",
    "Judge": "judge",
    "Picture": "picture",
    "Reference": "subject",
    "Severity": "verdict",
    "Subject": "subject",
    "Verdict": "verdict",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
