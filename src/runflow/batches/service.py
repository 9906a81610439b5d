"""Rules of batches: created whole or not at all, read, cancelled."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Collection
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.assets.references import replaced, signed_references
from runflow.batches import queries
from runflow.batches.ending import batch_output
from runflow.batches.queries import BATCH_LIST, ITEM_LIST, ItemStatus, ShownBatch
from runflow.batches.records import TERMINAL, item_record, lean_item, record
from runflow.batches.schemas import CreateBatch
from runflow.db.transaction import Transaction
from runflow.ids import new_id
from runflow.queue import cancellation
from runflow.queue.intake import NewRun
from runflow.runs import queries as run_queries
from runflow.runs.dispatch import Dispatcher
from runflow.runs.file_inputs import Given
from runflow.runs.preparation import callback_faults, prepare
from runflow.runs.schemas import ClientRef
from runflow.runs.service import RunReader
from runflow.runs.tables import RunRow
from runflow.web.auth import Principal
from runflow.web.lists import (
    ListQuery,
    RecordQuery,
    check_projection,
    envelope,
    project,
    read_page,
)
from runflow.web.services import Services
from runflow.workflows.targets import DispatchTarget

FROM_RUNS = frozenset({"items", "input"})
"""What stands in the items' runs: a list reads it only where `fields` names it."""
RECORD_FIELDS = BATCH_LIST.response_fields | {"output"}


class BatchReader:
    """Reads batches for their callers."""

    def __init__(self, services: Services, runs: RunReader) -> None:
        """Read with these parts."""
        self._services = services
        self._runs = runs

    async def list_all(self, caller: Principal, base_url: str, query: ListQuery) -> dict[str, Any]:
        """Return a page of the organization's batches."""
        parts = FROM_RUNS.intersection(query.fields or ())
        async with self._services.db.listing(caller.org_id) as transaction:
            base = queries.of_organization(caller.org_id)
            size = None
            if "input" in parts:
                base, size = queries.with_input_bytes(base), _input_bytes
            found = await read_page(transaction, BATCH_LIST, query, base, row=ShownBatch, size=size)
            items, inputs = await _parts(transaction, found.rows, parts)
        records = await self._records(caller, found.rows, base_url, parts, items, inputs)
        return envelope(found, [project(item, query) for item in records])

    async def get(self, caller: Principal, batch_id: UUID, base_url: str, query: RecordQuery) -> dict[str, Any]:
        """Return a batch with its items, and once it has ended with their outputs. Raises `BatchNotFound`."""
        check_projection(query, RECORD_FIELDS, BATCH_LIST.embeds)
        async with self._services.db.tenant(caller.org_id) as transaction:
            row = await queries.by_id(transaction, batch_id)
            if row is None:
                raise errors.BatchNotFound
            items, inputs = await _parts(transaction, [row], FROM_RUNS)
        found = (await self._records(caller, [row], base_url, FROM_RUNS, items, inputs))[0]
        found["output"] = None
        if row.completed_at is not None and (query.fields is None or "output" in query.fields):
            seconds = self._services.settings.output_url_seconds
            async with self._services.db.tenant(caller.org_id) as transaction:
                produced = await queries.items_with_outputs(transaction, batch_id)
            found["output"] = batch_output(self._services, base_url, row, produced, seconds=seconds)
        return project(found, query)

    async def ended(self, caller: Principal, batch_id: UUID, seconds: float) -> None:
        """Return as soon as every item has ended, or after so many seconds. Raises `BatchNotFound`."""
        deadline = time.monotonic() + seconds
        async with self._services.db.tenant(caller.org_id) as transaction:
            if not await queries.is_there(transaction, batch_id):
                raise errors.BatchNotFound
            items = await queries.lean_items(transaction, [batch_id])
        for item in items:
            remaining = deadline - time.monotonic()
            if remaining > 0 and item.status_code not in TERMINAL:
                # What retention removed in the meantime had ended.
                with contextlib.suppress(errors.RunNotFound):
                    await self._runs.ended(caller, item.id, remaining)

    async def items(self, caller: Principal, batch_id: UUID, base_url: str, query: ListQuery) -> dict[str, Any]:
        """Return a page of a batch's items as they are now. Raises `BatchNotFound`."""
        base = queries.narrowed_to_items(run_queries.selection(), batch_id)
        async with self._services.db.listing(caller.org_id) as transaction:
            found = await read_page(transaction, ITEM_LIST, query, base, row=RunRow, short=True)
            if not found.rows and not await queries.is_there(transaction, batch_id):
                raise errors.BatchNotFound
        records = await self._items(caller, found.rows, base_url, query)
        return envelope(found, [project(item, query) for item in records])

    async def item(
        self, caller: Principal, batch_id: UUID, item_id: UUID, base_url: str, query: RecordQuery
    ) -> dict[str, Any]:
        """Return one item. Raises `BatchItemNotFound`."""
        check_projection(query, ITEM_LIST.response_fields, ITEM_LIST.embeds)
        async with self._services.db.tenant(caller.org_id) as transaction:
            rows = [row for row in await run_queries.by_ids(transaction, [item_id]) if row.batch_id == batch_id]
        if not rows:
            raise errors.BatchItemNotFound
        return project((await self._items(caller, rows, base_url, query))[0], query)

    async def cancel(self, caller: Principal, batch_id: UUID, reason: str | None) -> bool:
        """Cancel every item that has not ended. Returns False when all had. Raises `BatchNotFound`."""
        async with self._services.db.system() as transaction:
            if await queries.organization_of(transaction, batch_id) != caller.org_id:
                raise errors.BatchNotFound
            stopped = await queries.open_items(transaction, batch=batch_id, org=caller.org_id)
            for run_id in stopped:
                await cancellation.cancel_run(
                    self._services, transaction, org_id=caller.org_id, run_id=run_id, reason=reason
                )
            if not stopped:
                return False
            await queries.set_reason(transaction, batch=batch_id, reason=reason)
            details = {"items": len(stopped), **({"reason": reason} if reason else {})}
            await recorder.record(transaction, caller, "batch.cancelled", "batch", batch_id, details)
        cancellation.announce(self._services, stopped)
        return True

    async def _records(
        self,
        caller: Principal,
        rows: list[ShownBatch],
        base_url: str,
        parts: Collection[str],
        items: dict[UUID, list[dict[str, Any]]],
        inputs: dict[UUID, list[Any]],
    ) -> list[dict[str, Any]]:
        documents = [*(row.metadata for row in rows), *inputs.values()]
        signed = await signed_references(self._services, caller, documents, base_url)
        records = []
        for row in rows:
            found = record(row, base_url)
            found["metadata"] = replaced(row.metadata, signed.get)
            if "items" in parts:
                found["items"] = items[row.id]
            if "input" in parts:
                found["input"] = replaced(inputs[row.id], signed.get)
            records.append(found)
        return records

    async def _items(
        self, caller: Principal, rows: list[RunRow], base_url: str, query: ListQuery | RecordQuery
    ) -> list[dict[str, Any]]:
        wanted = None if "run" in query.embed else ()
        runs = await self._runs.records(caller, rows, base_url, parts=wanted)
        found = []
        for row, run in zip(rows, runs, strict=True):
            item = item_record(run, row.batch_index or 0)
            if "run" in query.embed:
                item["run"] = run
            found.append(item)
        return found


def _input_bytes(batch: ShownBatch) -> int:
    return batch.input_bytes or 0


async def _parts(
    transaction: Transaction, rows: list[ShownBatch], parts: Collection[str]
) -> tuple[dict[UUID, list[dict[str, Any]]], dict[UUID, list[Any]]]:
    """Read items and inputs of these batches, where they are wanted."""
    ids = [row.id for row in rows]
    items: dict[UUID, list[dict[str, Any]]] = defaultdict(list)
    inputs: dict[UUID, list[Any]] = defaultdict(list)
    if ids and "items" in parts:
        for item in await queries.lean_items(transaction, ids):
            items[item.batch_id].append(lean_item(item))
    if ids and "input" in parts:
        for item_input in await queries.inputs(transaction, ids):
            inputs[item_input.batch_id].append(item_input.input)
    return items, inputs


_REFERENCE: TypeAdapter[str | None] = TypeAdapter(ClientRef | None)


async def create(
    dispatcher: Dispatcher,
    caller: Principal,
    owner: str,
    slug: str,
    body: CreateBatch,
    *,
    request_id: str | None,
    base_url: str,
) -> dict[str, Any]:
    """Queue a batch and return its record.

    Raises `WorkflowNotFound`, `WorkflowDisabled`, `PermissionDenied`, or `ValidationFailed` naming every faulty value
    of every item.
    """
    target = await dispatcher.target(caller, owner, slug, body.version)
    await dispatcher.admit(caller, target, body.priority or 0)
    given, references, faults = _read(body, target)
    faults += callback_faults(dispatcher.services, body.callback_url)
    prepared = await prepare(dispatcher.services, caller, target, given, body.metadata, faults)
    batch = {
        "id": new_id(),
        "comfyui_workflow_id": target.workflow_id,
        "version_id": target.version_id,
        "target_version": target.version,
        "source_code": "api",
        "items_total": len(given),
        "metadata": prepared.metadata,
        "callback_url": body.callback_url,
        "request_id": request_id,
        "created_by": caller.key_id,
    }
    runs = [
        dispatcher.new_run(
            caller,
            target,
            values,
            client_ref=reference,
            request_id=request_id,
            source_code="batch",
            priority=body.priority or 0,
            batch_id=batch["id"],
            batch_index=index,
        )
        for index, (values, reference) in enumerate(zip(prepared.inputs, references, strict=True))
    ]
    created_at = await dispatcher.intake.submit_together(runs, lambda transaction: queries.insert(transaction, batch))
    return await _fresh(dispatcher, caller, {**batch, "created_at": created_at}, runs, base_url)


def _read(body: CreateBatch, target: DispatchTarget) -> tuple[list[Given], list[str | None], list[dict[str, Any]]]:
    """Return inputs and references of the items, in either spelling, and what is wrong with the references."""
    if body.items is not None:
        given = [Given(item.input, ("body", "items", index, "input")) for index, item in enumerate(body.items)]
        return given, [item.client_ref for item in body.items], []
    given, references, faults = [], [], []
    is_input = any(spec.name == "client_ref" for spec in target.interface.inputs)
    for index, values in enumerate(body.input or []):
        place = ("body", "input", index)
        reference: str | None = None
        if not is_input and "client_ref" in values:
            values = dict(values)
            try:
                reference = _REFERENCE.validate_python(values.pop("client_ref"), strict=True)
            except ValidationError as error:
                message = f"client_ref: {error.errors(include_url=False)[0]['msg']}"
                faults.append({"loc": [*place, "client_ref"], "msg": message, "type": "type_error"})
        given.append(Given(values, place))
        references.append(reference)
    return given, references, faults


async def _fresh(
    dispatcher: Dispatcher, caller: Principal, batch: dict[str, Any], runs: list[NewRun], base_url: str
) -> dict[str, Any]:
    """Return the record of a batch that was just committed, without reading it again."""
    inputs = [run.input for run in runs]
    signed = await signed_references(dispatcher.services, caller, [*inputs, batch["metadata"]], base_url)
    nothing = dict.fromkeys(
        [
            *("cost", "duration_ms", "started_at", "completed_at", "cancellation_reason"),
            *("failure_code", "failure_stage_code", "failure_message"),
        ]
    )
    counts = dict.fromkeys(["items_succeeded", "items_failed", "items_cancelled"], 0)
    values: dict[str, Any] = {**nothing, **counts, **batch, "metadata": replaced(batch["metadata"], signed.get)}
    row = ShownBatch(**values, org_id=caller.org_id, target_type="comfyui_workflow", status_code="queued")
    items = [
        ItemStatus(id=run.id, batch_id=row.id, batch_index=index, status_code="queued", client_ref=run.client_ref)
        for index, run in enumerate(runs)
    ]
    return {
        **record(row, base_url),
        "items": [lean_item(item) for item in items],
        "input": [replaced(one, signed.get) for one in inputs],
        "output": None,
    }
