"""Watching golden runs: runs are dispatched and judged, and a version that passed begins to serve.

Each look reads the rows anew and does one step in one transaction that is guarded by what the rows say, so a process
may die at any line, and two may look at once: what was not committed is done by whoever looks next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.billing.budget import require_credit
from runflow.db.claim_loop import Claimed, ClaimLoop
from runflow.db.transaction import Transaction
from runflow.deliveries import outbox
from runflow.deliveries.messages import golden_payload
from runflow.evaluations.automatic import evaluate_outputs
from runflow.golden import queries as made
from runflow.golden.judgement import Judgement, judge
from runflow.queue import cancellation
from runflow.queue import queries as queue
from runflow.queue.intake import Intake, NewRun
from runflow.runs.dispatch import Dispatcher
from runflow.runs.file_inputs import Given
from runflow.runs.preparation import prepare
from runflow.runs.reruns import target_of
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import queries as workflows
from runflow.workflows.golden import queries
from runflow.workflows.golden.queries import DueGolden
from runflow.workflows.golden.service import TOPIC, reason
from runflow.workflows.golden.tables import GoldenExampleRow, GoldenRow, GoldenStatus
from runflow.workflows.service import TOPIC as WORKFLOW
from runflow.workflows.versions.promotion import switch

log = structlog.get_logger()

MOST_AT_ONCE = 8
"""Golden runs that one process looks at in the same moment; each look takes milliseconds."""
SOURCE = "golden"
"""`source_code` of the runs."""


@dataclass(frozen=True, slots=True)
class Timing:
    """In seconds: `look` is how often a running one is looked at, `poll` how often rows are looked for without being
    told, `lease` when one is due again whose process died while it looked.
    """

    look: float = 1.0
    poll: float = 15.0
    lease: float = 30.0


class NothingToDo(Exception):
    """The rows say something else by now than when they were read; whoever looks next knows."""


class GoldenRuns:
    """The golden runs that are due, and what a look at one does."""

    def __init__(self, services: Services, dispatcher: Dispatcher, timing: Timing) -> None:
        """Dispatch by this dispatcher."""
        self._services = services
        self._dispatcher = dispatcher
        self._timing = timing

    async def claim(self, places: int) -> Claimed[DueGolden]:
        """Take at most `places` that are due."""
        async with self._services.db.system(durable=False) as transaction:
            claims = await queries.claim(transaction, places, self._timing.lease)
            to_next = await queries.seconds_to_next(transaction)
        return Claimed(claims, more=len(claims) == places, seconds_to_next=to_next)

    def name_of(self, held: DueGolden) -> str:
        """Return the id of a golden run."""
        return str(held.id)

    async def release(self, held: Sequence[DueGolden]) -> None:
        """Let others look at these at once."""
        async with self._services.db.system(durable=False) as transaction:
            await queries.due_at_once(transaction, [one.id for one in held])

    async def work(self, held: DueGolden) -> float | None:
        """Bring a golden run as far as it can be brought now. Returns in how many seconds it is to be looked at."""
        while True:
            async with self._services.db.tenant(held.org_id) as transaction:
                row = await queries.golden_run(transaction, held.id)
                if row is None:
                    return None
                examples = await queries.examples_of(transaction, [row.id])
                found = await made.evaluations(transaction, [one.run_id for one in examples if one.run_id is not None])
                now = await queries.now(transaction)
            if row.status_code != GoldenStatus.RUNNING:
                await self._close(row)
                return None
            caller = Principal(row.created_by, row.org_id, held.org_slug, frozenset())
            judgement = judge(examples, found, now=now, expires_at=row.expires_at)
            try:
                if not judgement.reasons and any(one.run_id is None for one in examples):
                    await self._dispatch(caller, row, examples)
                elif not await self._act(caller, row, judgement, examples):
                    async with self._services.db.tenant(held.org_id) as transaction:
                        await queries.look_again(transaction, row.id, self._timing.look)
                    return self._timing.look
            except NothingToDo:
                continue

    async def _act(
        self, caller: Principal, row: GoldenRow, judgement: Judgement, examples: Sequence[GoldenExampleRow]
    ) -> bool:
        """Do what follows from a judgement; tell whether anything did."""
        if judgement.passed:
            try:
                await self._pass(caller, row)
            except errors.WorkflowInvalid as error:
                await self._fail(caller, row, [reason(error.code, error.message)])
        elif judgement.reasons:
            await self._fail(caller, row, list(judgement.reasons))
        elif judgement.unevaluated:
            await self._evaluate(caller, row, judgement.unevaluated, examples)
        return judgement.passed or bool(judgement.reasons)

    async def _dispatch(self, caller: Principal, row: GoldenRow, examples: Sequence[GoldenExampleRow]) -> None:
        """Queue a run for each example, all or none of them."""
        try:
            target = await target_of(self._services, caller, row.workflow_id, row.version_id)
            await require_credit(self._services, caller.org_id)
            given = [Given(one.input, ("examples", one.name)) for one in examples]
            prepared = await prepare(self._services, caller, target, given)
        except errors.InsufficientCredit as error:
            await self._fail(caller, row, [reason(error.code, error.message)])
            return
        except errors.WorkflowNotFound:
            await self._fail(caller, row, [reason("WORKFLOW_DELETED", "The workflow was deleted.")])
            return
        except errors.ValidationFailed as error:
            await self._fail(caller, row, _refusals(error))
            return
        runs: list[NewRun] = [
            self._dispatcher.new_run(
                caller,
                target,
                values,
                metadata={"golden_run_id": str(row.id), "example": one.name},
                source_code=SOURCE,
                request_id=row.request_id,
            )
            for one, values in zip(examples, prepared.inputs, strict=True)
        ]

        async def link(transaction: Transaction) -> None:
            locked = await queries.locked_golden_run(transaction, row.id)
            if locked is None or locked.status_code != GoldenStatus.RUNNING:
                raise NothingToDo
            for one, run in zip(examples, runs, strict=True):
                if not await queries.link(transaction, row.id, one.place, run.id):
                    raise NothingToDo

        await self._dispatcher.intake.submit_together(runs, link)

    async def _pass(self, caller: Principal, row: GoldenRow) -> None:
        """Let the version serve, unless something newer was decided meanwhile."""
        async with self._services.db.tenant(row.org_id) as transaction:
            current = await workflows.lock(transaction, row.workflow_id)
            if current is None or not await queries.end(transaction, row.id, GoldenStatus.PASSED, []):
                raise NothingToDo
            await switch(transaction, caller, current, row.version_id, row.number)
            details = {"golden_run_id": str(row.id), "version": str(row.number), "from": current.version}
            await recorder.record(
                transaction, caller, "comfyui_workflow.promoted", "comfyui_workflow", row.workflow_id, details
            )
        self._services.hub.publish(WORKFLOW, str(row.workflow_id))

    async def _fail(self, caller: Principal, row: GoldenRow, reasons: list[Mapping[str, Any]]) -> None:
        async with self._services.db.tenant(row.org_id) as transaction:
            if not await queries.end(transaction, row.id, GoldenStatus.FAILED, reasons[:100]):
                raise NothingToDo
            details = {"comfyui_workflow_id": str(row.workflow_id), "reasons": [why["code"] for why in reasons[:20]]}
            await recorder.record(transaction, caller, "golden_run.failed", "golden_run", row.id, details)

    async def _evaluate(
        self, caller: Principal, row: GoldenRow, run_ids: Sequence[UUID], examples: Sequence[GoldenExampleRow]
    ) -> None:
        """Queue evaluations of the outputs of runs whose workflow does not have them evaluated anyway."""
        empty: list[UUID] = []
        async with self._services.db.tenant(row.org_id) as transaction:
            locked = await queries.locked_golden_run(transaction, row.id)
            if locked is None or locked.status_code != GoldenStatus.RUNNING:
                raise NothingToDo
            known = {one.run_id for one in await made.evaluations(transaction, run_ids)}
            for run_id in run_ids:
                if run_id in known:
                    continue
                outputs = [
                    {"output_id": one.output_id, "content_type": one.content_type, "object_key": one.object_key}
                    for one in await made.outputs(transaction, run_id)
                ]
                about = _Subject(run_id, row.org_id, row.workflow_id, row.request_id)
                if not await evaluate_outputs(transaction, about, outputs):
                    empty.append(run_id)
        self._services.hub.publish("evaluation")
        if empty:
            reasons = [_nothing_to_evaluate(one) for one in examples if one.run_id in empty]
            await self._fail(caller, row, reasons)

    async def _close(self, row: GoldenRow) -> None:
        """Stop what an ended golden run has left, and tell of its end: in one transaction, so once."""
        stopped: list[UUID] = []
        async with self._services.db.system() as transaction:
            if not await queries.done(transaction, row.id):
                return
            for run_id in await queries.open_runs(transaction, row.id):
                why = f"The golden run of version {row.number} has ended: {row.status_code}."
                await cancellation.cancel_run(self._services, transaction, org_id=row.org_id, run_id=run_id, reason=why)
                stopped.append(run_id)
            event, body = golden_payload(
                golden_id=row.id,
                workflow_id=row.workflow_id,
                status=row.status_code,
                version=str(row.number),
                reasons=row.reasons,
                workflow=await queue.workflow_path(transaction, row.workflow_id),
                created_at=row.created_at,
                completed_at=row.completed_at,
            )
            await outbox.insert_for_webhooks(
                transaction,
                org_id=row.org_id,
                event_type_code=event,
                payload=body,
                golden_run_id=row.id,
                request_id=row.request_id,
            )
        cancellation.announce(self._services, stopped)

    def loop(self, most: int) -> ClaimLoop[DueGolden]:
        """Return what looks at most at so many at once."""
        return ClaimLoop(self, self._services.hub, TOPIC, name="the golden runs", most=most, poll=self._timing.poll)


@dataclass(frozen=True, slots=True)
class _Subject:
    run_id: UUID
    org_id: UUID
    comfyui_workflow_id: UUID
    request_id: str | None


def _nothing_to_evaluate(example: GoldenExampleRow) -> Mapping[str, Any]:
    message = (
        f'Example "{example.name}" delivered no image that could be evaluated. Leave `evaluate` out, of it and of the '
        "deployment."
    )
    return reason("NOTHING_TO_EVALUATE", message, example=example.name, run_id=example.run_id)


def _refusals(error: errors.ValidationFailed) -> list[Mapping[str, Any]]:
    """Return what a dispatch would refuse, by example."""
    refused: list[Mapping[str, Any]] = []
    for fault in error.errors or []:
        place = fault["loc"]
        example = str(place[1]) if len(place) > 1 and place[0] == "examples" else None
        refused.append(reason("EXAMPLE_REFUSED", str(fault["msg"]), example=example))
    return refused or [reason("EXAMPLE_REFUSED", error.message)]


class GoldenRunner:
    """Looks after golden runs, in one server process."""

    def __init__(self, services: Services, intake: Intake, *, timing: Timing | None = None) -> None:
        """Queue runs by this intake; `run` does the work."""
        self._services = services
        self._intake = intake
        self._timing = timing or Timing()

    async def run(self) -> None:
        """Work until cancelled."""
        dispatcher = Dispatcher(self._services, self._intake)
        await GoldenRuns(self._services, dispatcher, self._timing).loop(MOST_AT_ONCE).run()
