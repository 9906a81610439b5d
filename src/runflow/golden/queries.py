"""SQL of what the runs of a golden run have made of their outputs."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from runflow.db.transaction import Transaction
from runflow.golden.judgement import Evaluated

_EVALUATIONS = """
    SELECT run_id, status_code, overall_passed, failure_message, top_issues FROM evaluations
    WHERE run_id = ANY(%(runs)s) AND is_automatic ORDER BY run_id, id
"""
_OUTPUTS = """
    SELECT output_id, content_type, object_key FROM run_outputs WHERE run_id = %(run)s ORDER BY ordinal
"""


@dataclass(frozen=True, slots=True)
class OutputRow:
    """A file that a run delivered."""

    output_id: str
    content_type: str
    object_key: str


async def evaluations(transaction: Transaction, runs: Collection[UUID]) -> list[Evaluated]:
    """Return how the evaluations of these runs stand that were made without anybody submitting them."""
    return await transaction.rows(_EVALUATIONS, {"runs": list(runs)}, row=Evaluated)


async def outputs(transaction: Transaction, run: UUID) -> list[OutputRow]:
    """Return the files that a run delivered, in their order."""
    return await transaction.rows(_OUTPUTS, {"run": run}, row=OutputRow)
