"""The end of an attempt: one transaction makes run, attempt, outputs, usage and deliveries final.

Only the holder of the lease can end it, and only once: a stale lease changes nothing, and the same completion again
gets the same answer (docs/leases.md, "Completing, guarded").
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from runflow import errors
from runflow.billing.settlement import Charged, meter
from runflow.db.transaction import Fetched, Transaction
from runflow.ids import new_id
from runflow.protocol.codec import as_fields
from runflow.protocol.completions import Completion, CompletionAnswer
from runflow.protocol.failures import TERMINAL, Failure, FailureCode, Stage
from runflow.protocol.runtimes import SourceCommit
from runflow.queue import completion_queries, queries
from runflow.queue.attempt_files import AttemptFiles, output_prefix, with_keys
from runflow.queue.backlog import TOPIC, lane_hint
from runflow.queue.caps import announce_room
from runflow.queue.completion_queries import AttemptEnd
from runflow.queue.ending import Ending, run_ended, something_follows
from runflow.queue.leases import OPEN, hold, latest_progress, number_of, store_events
from runflow.queue.out_of_memory import ran_out, too_small_gb
from runflow.queue.rows import EndedRun, HeldRun
from runflow.queue.told_failures import LACKING, told
from runflow.queue.waits import NOTHING, Measured, begun_at, split
from runflow.queue.watchers import Look, Watchers
from runflow.web.services import Services
from runflow.workers import ability_queries
from runflow.workflows.runtime import builds
from runflow.workflows.runtime import queries as runtime_queries
from runflow.workflows.runtime.known import TOPIC as ELIGIBILITY

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Transition:
    """What an attempt's end means for its run."""

    attempt_status: str
    run_status: str
    billable: bool
    failure: Failure | None = None


MOST_BEGINNINGS = 1000
"""A run that workers began and gave back so often ends: events are numbered by the beginning that they belong to, and
those numbers have an end (`runs/history/timeline.py`)."""


MOST_MISSES = 20
"""A run that was begun so often, and that a worker lacks something for once more, ends with that failure."""


def decide(held: HeldRun, body: Completion) -> Transition:
    """Decide how attempt and run go on: a value, not an action (docs/leases.md, "Trying again")."""
    if held.run_status in TERMINAL:
        return Transition("cancelled", held.run_status, billable=True)
    if body.result == "succeeded":
        return Transition("succeeded", "succeeded", billable=True)
    if body.result == "cancelled":
        # The server never asked for it: the worker's own doing, so the run goes on elsewhere.
        return retry_or_fail(held, _lost("The worker stopped the run without having been asked."))
    if body.result == "released":
        message = f"This run was begun and given back {MOST_BEGINNINGS} times."
        return Transition("lost", "failed", billable=False, failure=_lost(message))
    return retry_or_fail(held, body.error or _lost("The worker gave no reason for the failure."))


def retry_or_fail(held: HeldRun, failure: Failure) -> Transition:
    """A retryable failure waits again until three attempts are used or memory ran out twice; others end the run."""
    again = failure.retryable and held.tries < queries.ATTEMPT_LIMIT
    if failure.code is FailureCode.OUT_OF_MEMORY and held.ran_out:
        again = False
    status = "lost" if failure.code is FailureCode.WORKER_LOST else "failed"
    return Transition(status, "queued" if again else "failed", billable=False, failure=failure)


async def as_told(transaction: Transaction, held: HeldRun, transition: Transition) -> Transition:
    """Return what an attempt's end means for its run, with the failure as the run's caller is told it."""
    if transition.failure is None:
        return transition
    return replace(transition, failure=await told(transaction, held, transition.failure))


def _lost(message: str, stage: Stage = Stage.EXECUTE) -> Failure:
    return Failure(
        code=FailureCode.WORKER_LOST,
        stage=stage,
        message=f"{message} Look at the worker's log; dispatch the run again when it is back.",
        retryable=True,
    )


def worker_replaced(worker: str) -> Failure:
    """The failure of an attempt whose worker's name went to another process."""
    return _lost(
        f"The worker {worker} was started again, or another process took its name, while it had this run. Two workers "
        "must not share a name."
    )


def worker_lost(worker: str) -> Failure:
    """The failure of an attempt whose worker stopped renewing its lease."""
    return _lost(f"The worker {worker} stopped answering while it had this run.")


def never_answered(worker: str, offers: int) -> Failure:
    """The failure of a run that was offered again and again, and of which no worker ever said a word."""
    message = f"This run was offered {offers} times without an answer, last to the worker {worker}."
    return _lost(message, Stage.DISPATCH)


async def complete(
    services: Services, lease: UUID, body: Completion, contents: Sequence[bytes], token: UUID
) -> CompletionAnswer:
    """End an attempt; `contents` are the outputs that have no key yet, in their order, `token` is its worker's.

    Raises `LeaseLost`, `LeaseNotFound`, `ValidationFailed` for outputs that are not there, and what `Storage.keep`
    raises for content that cannot be stored.
    """
    attempt = AttemptFiles(services, lease, body, contents)
    try:
        answer = await _complete(services, attempt, body, token)
    except BaseException:
        await attempt.forget_copies()
        raise
    finally:
        attempt.stop_looking()
    await attempt.forget_originals()
    return answer


async def _kept_away(transaction: Transaction, held: HeldRun, body: Completion) -> bool:
    """Keep the run's lane from a worker that said it could run it and lacks something; False where the run ends."""
    failure = body.error
    if body.result != "failed" or failure is None or not failure.lacking or failure.code not in LACKING:
        return False
    if number_of(held) > MOST_MISSES:
        return False
    return await ability_queries.refuse(
        transaction,
        worker=body.worker_id,
        lane=held.lane_id,
        message=failure.message,
        offered_at=held.offered_at,
    )


async def _waits_for_approval(transaction: Transaction, held: HeldRun, found: SourceCommit | None) -> bool:
    """Tell whether a run goes back until the operator has approved what the build of its version found.

    Where that was approved before the run was offered, and still not taken, it would go back for ever: it ends.
    """
    if found is None or number_of(held) > MOST_MISSES:
        return False
    return await runtime_queries.may_be_approved(
        transaction, origin=found.origin, commit=found.commit, offered_at=held.offered_at
    )


async def _complete(services: Services, files: AttemptFiles, body: Completion, token: UUID) -> CompletionAnswer:
    """End an attempt whose outputs are being brought to the disk meanwhile."""
    charged: Charged | None = None
    watchers = services.part(Watchers)
    looks: list[Look] = []
    waits = False
    too_small = await too_small_gb(services, files.lease, body)
    async with services.db.system() as transaction:
        held = await hold(transaction, lease=files.lease, worker=body.worker_id, instance=body.instance, token=token)
        if body.built is not None and held.lease_status in OPEN:
            version = await completion_queries.version_of(transaction, held.run_id)
            found = await builds.note(transaction, version, body.worker_id, body.built)
            waits = body.result == "failed" and await _waits_for_approval(transaction, held, found)
        body = with_keys(body, held.run_id, held.lease_id)
        fingerprint = _hash(body)
        if held.lease_status not in OPEN:
            if held.result_hash == fingerprint:
                return CompletionAnswer(run_id=held.run_id, status_code=held.run_status)
            raise errors.LeaseLost
        again = (held.number or 0) < MOST_BEGINNINGS
        goes_back = body.result == "released" and again
        if held.run_status not in TERMINAL and (goes_back or waits or await _kept_away(transaction, held, body)):
            if held.number is not None:
                await queries.back_in_lane(
                    transaction, org=held.org_id, run=held.run_id, number=held.number, forgotten_at=held.offered_at
                )
            await queries.return_offer(
                transaction,
                lease=held.lease_id,
                run=held.run_id,
                lane=held.lane_id,
                created_at=held.created_at,
                beginnings=0 if goes_back else number_of(held),
            )
            transition = Transition("released", "queued", billable=False)
        else:
            if body.result == "succeeded" and held.run_status not in TERMINAL:
                body = await files.stored(body, output_prefix(held.run_id, held.lease_id))
            transition = await as_told(transaction, held, decide(held, body))
            charged = await _apply(services, transaction, held, body, transition, fingerprint, too_small)
            if transition.run_status in TERMINAL:
                looks = await watchers.look(transaction, held.run_id)
            files.hand_over()
    await watchers.tell(looks)
    if charged is not None:
        await charged.tell(services)
    if waits or (body.built is not None and not body.built.succeeded):
        services.hub.publish(ELIGIBILITY)  # before its lane's: nobody shall be offered what nobody may build
    announce(services, held, transition.run_status, with_delivery=something_follows(services, held))
    if held.auto_evaluate and transition.run_status == "succeeded":
        services.hub.publish("evaluation")
    return CompletionAnswer(run_id=held.run_id, status_code=transition.run_status)


def announce(services: Services, held: HeldRun, run_status: str, *, with_delivery: bool = False) -> None:
    """Tell who waits that a run ended (and perhaps has something to deliver) or waits again, and that it is let go."""
    announce_room(services, held)
    if run_status == "queued":
        services.hub.publish(TOPIC, lane_hint(held.lane_id))
        services.hub.publish("run-events", str(held.run_id))
        return
    services.hub.publish("run", str(held.run_id))
    if with_delivery:
        services.hub.publish("delivery")


async def _apply(
    services: Services,
    transaction: Transaction,
    held: HeldRun,
    body: Completion,
    transition: Transition,
    fingerprint: str,
    too_small: int,
) -> Charged | None:
    number = number_of(held)
    if body.events:
        await store_events(transaction, held, number, body.events)
    outputs = [as_fields(output) for output in body.outputs] if transition.run_status == "succeeded" else []
    progress = latest_progress(body.events)
    end = attempt_end(
        held,
        transition,
        number,
        measured=Measured(body.timings.runtime_ms, body.timings.model_ms, body.timings.engine_ms),
        has_begun=body.result == "succeeded" or body.timings.started_at is not None,
        prepare_ms=body.timings.prepare_ms,
        load_ms=body.timings.load_ms,
        execute_ms=body.timings.execute_ms,
        upload_ms=body.timings.upload_ms,
        cold_start=body.timings.cold_start,
        loaded=body.timings.loaded,
        peak_memory_bytes=body.timings.peak_memory_bytes,
        out_of_memory_gb=too_small if ran_out(transition.failure) else 0,
        result_hash=fingerprint,
        nodes_completed=progress.get("nodes_completed"),
        nodes_total=progress.get("nodes_total"),
        has_logs=any(event.type == "log" for event in body.events),
        outputs=outputs,
        # Their ids grow with their order, by which lists tell apart what one transaction made.
        nodes=[{"id": new_id(), **as_fields(node)} for node in body.nodes],
        started_at=body.timings.started_at,
    )
    ended = await completion_queries.finish(transaction, end)
    if transition.run_status == "queued":
        await queries.back_in_lane(transaction, org=held.org_id, run=held.run_id, number=number)
    charged = await meter(transaction, held, number, transition.run_status)
    if transition.run_status in TERMINAL and held.run_status not in TERMINAL and something_follows(services, held):
        await run_ended(services, transaction, await ending_of(held, transition, ended, outputs))
    return charged


def attempt_end(
    held: HeldRun,
    transition: Transition,
    number: int,
    *,
    started_at: datetime | None = None,
    measured: Measured = NOTHING,
    has_begun: bool = False,
    **told: Any,
) -> AttemptEnd:
    """Return the end of a locked attempt; `told` is what its worker told of it, and is empty where it told nothing."""
    failure = transition.failure
    began = begun_at(held, started_at or held.attempt_started_at or held.offered_at)
    has_begun = has_begun or held.run_started_at is not None
    details = None
    if failure is not None:
        details = {"node_id": failure.node_id, "node_type": failure.node_type, "details": failure.details}
    return AttemptEnd(
        held=held,
        number=number,
        attempt_status=transition.attempt_status,
        run_status=transition.run_status,
        billable=transition.billable,
        failure_code=failure.code.value if failure else None,
        failure_stage=failure.stage.value if failure else None,
        failure_message=failure.message if failure else None,
        failure_details=orjson.dumps(details).decode() if details else None,
        started_at=began,
        wait=split(held, measured, until=began if has_begun else held.run_ended_at or held.now),
        **told,
    )


async def ending_of(
    held: HeldRun, transition: Transition, ended: Fetched[EndedRun], outputs: list[dict[str, Any]]
) -> Ending:
    """Return how a run ended, for what follows from it."""
    row = await ended.fetchone()
    if row is None:
        raise RuntimeError(f"The run {held.run_id} is locked and was not there to end.")
    return Ending(held, transition.run_status, row, outputs, transition.failure)


def _hash(body: Completion) -> str:
    told = (body.protocol_version, body.worker_id, body.instance, body.result, body.outputs, body.error, body.nodes)
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()
