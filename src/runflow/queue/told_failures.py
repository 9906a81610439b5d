"""What the caller of another organization's public workflow is told of a failure: nothing that is the owner's.

Its node packs and models are not the caller's to see, nor are the names of workers (docs/api/workflows.md, "Public
workflows"). What a node says that was executed is: that is a run's own story.
"""

from collections.abc import Mapping
from dataclasses import replace

import structlog

from runflow.db.transaction import Transaction
from runflow.protocol.failures import Failure, FailureCode
from runflow.queue import queries
from runflow.queue.rows import HeldRun

log = structlog.get_logger()

LACKING = frozenset({FailureCode.NODE_TYPE_MISSING, FailureCode.MODEL_MISSING})
"""A worker lacks something that a run needs."""

_TOLD = {
    FailureCode.NODE_TYPE_MISSING: "The worker lacks a node class that this workflow needs. Tell its owner.",
    FailureCode.MODEL_MISSING: "The worker lacks a model that this workflow needs. Tell its owner.",
    FailureCode.RUNTIME_BUILD_FAILED: "What this workflow needs could not be installed. Tell its owner.",
    FailureCode.ENGINE_CRASHED: "The engine ended while it had this run, or did not answer. Dispatch the run again.",
    FailureCode.WORKER_LOST: "The worker of this run did not answer, or was stopped. Dispatch the run again.",
}
"""For the failures whose own words may name a pack, a model, a worker, or what an engine wrote into its log."""


async def told(transaction: Transaction, held: HeldRun, failure: Failure) -> Failure:
    """Return a failure of a locked run as its caller is told it; the server's log has what is left out."""
    if failure.code not in _TOLD or _is_of_the_callers_value(failure):
        return failure
    if not await queries.is_foreign(transaction, held.run_id):
        return failure
    log.warning(
        "a run of a public workflow failed by what its caller is not told",
        run_id=str(held.run_id),
        code=failure.code.value,
        message=failure.message,
    )
    return replace(failure, message=_TOLD[failure.code], node_id=None, node_type=None, details=None)


def _is_of_the_callers_value(failure: Failure) -> bool:
    """Tell whether a value of the caller's own named what is missing: it knows that, and can send another one."""
    details = failure.details if isinstance(failure.details, Mapping) else {}
    return failure.code in LACKING and not failure.lacking and bool(details.get("input") or details.get("inputs"))
