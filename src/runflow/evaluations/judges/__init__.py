"""Judges: each looks at one picture for one kind of fault. How to write one: docs/evaluations.md.

Nothing here imports the server: judges work in processes of their own, which hold neither its connections nor its keys.
"""

from runflow.evaluations.judges.judge import Judge
from runflow.evaluations.judges.picture import Picture
from runflow.evaluations.judges.subject import Reference, Subject
from runflow.evaluations.judges.verdict import Issue, Severity, Verdict

__all__ = ["Issue", "Judge", "Picture", "Reference", "Severity", "Subject", "Verdict"]
