"""Rules of golden runs: how one begins, what ends it early, and how a tested version comes to serve.

A new version that is to be tested is stored and does not serve. Its runs are dispatched, watched and judged by
`runflow/golden/`, which reads nothing but these rows, so that whatever process dies another one goes on.

One golden run at a time: whatever changes which version serves, or begins to test another one, ends it. So a version
that passes is always the newest decision about its workflow.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.assets import references
from runflow.assets import service as assets
from runflow.db.transaction import Transaction
from runflow.graph import Interface
from runflow.graph.coerce import ValueRules
from runflow.graph.values import validate_values
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.origin import current_origin
from runflow.web.services import Services
from runflow.workflows import queries as workflows_queries
from runflow.workflows.golden import queries
from runflow.workflows.golden.queries import EXAMPLE_LIST, GOLDEN_LIST
from runflow.workflows.golden.records import example_record, golden_record, whole_record
from runflow.workflows.golden.schemas import (
    MAX_EXAMPLE_BYTES,
    MOST_EXAMPLES,
    NewGoldenRun,
    Options,
    SentExample,
    WholeGoldenRun,
)
from runflow.workflows.golden.tables import ExampleRow, GoldenRow, GoldenStatus
from runflow.workflows.tables import WorkflowRow

TOPIC = "golden"
"""Hints on it say that a golden run began or ended."""


def wanted(golden: bool | Options | None) -> Options | None:
    """Return what a golden run is to ask for, of the field `golden` of a deployment; None for no golden run."""
    if golden is True:
        return Options()
    return golden or None


async def store_examples(
    services: Services,
    transaction: Transaction,
    caller: Principal,
    workflow_id: UUID,
    interface: Interface,
    sent: Sequence[SentExample],
) -> None:
    """Let a workflow keep exactly these examples, which came with a deployment.

    Raises `ValidationFailed` naming every value that the interface does not take.
    """
    problems: list[dict[str, Any]] = []
    rules = ValueRules(allow_http=services.settings.allow_http_inputs)
    media = {spec.name for spec in interface.inputs if spec.variable_type_code.is_media}
    accepted: list[dict[str, Any]] = []
    names: set[str] = set()
    for at, example in enumerate(sent):
        place: tuple[str | int, ...] = ("body", "examples", at)
        if example.name in names:
            problems.append(_problem([*place, "name"], f'There are two examples "{example.name}".', "duplicate"))
        names.add(example.name)
        validated = validate_values(interface, example.input, rules)
        accepted.append(dict(validated.values))
        problems += [_problem([*place, "input", one.key], one.message, one.type) for one in validated.problems]
        problems += [
            _problem(
                [*place, "input", name],
                f'Input "{name}": a deployment takes no files inside its examples. Upload it and send '
                "runflow://assets/{uuid}, or keep the example with POST …/examples, which takes it.",
                "invalid_reference",
            )
            for name, value in validated.values.items()
            if name in media and isinstance(value, str) and value[:5].lower() == "data:"
        ]
        problems += too_large(example.input, [*place, "input"])
    problems += await _unknown_assets(transaction, accepted)
    if problems:
        raise errors.ValidationFailed(problems[0]["msg"], errors=problems[:100])
    await queries.forget(transaction, workflow_id)
    for example, values in zip(sent, accepted, strict=True):
        row = {"id": new_id(), "name": example.name, "input": values, "evaluate": example.evaluate}
        await queries.keep(transaction, workflow_id, {**row, "run_id": None, "key": caller.key_id})


async def _unknown_assets(transaction: Transaction, accepted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    named = {asset for _, asset in references.found_in(list(accepted))}
    there = await assets.use(transaction, named) if named else {}
    return [
        _problem(
            ["body", "examples", at, "input", name],
            f'Input "{name}": there is no asset {value} in your organization. Upload the file first.',
            "unknown_asset",
        )
        for at, values in enumerate(accepted)
        for name, value in values.items()
        if (asset := references.asset_id(value)) is not None and asset in named and asset not in there
    ]


def too_large(values: dict[str, Any], place: Sequence[str | int]) -> list[dict[str, Any]]:
    """Return the entry of `errors` for an example that is too large to be kept; none for another one."""
    size = size_in_bytes(values)
    if size <= MAX_EXAMPLE_BYTES:
        return []
    message = f"The input has {size} bytes of JSON; an example may have {MAX_EXAMPLE_BYTES}. Upload large files."
    return [_problem(place, message, "too_long")]


def size_in_bytes(values: dict[str, Any]) -> int:
    """Return how long an input is, as JSON."""
    return len(orjson.dumps(values))


def _problem(place: Sequence[str | int], message: str, kind: str) -> dict[str, Any]:
    return {"loc": list(place), "msg": message, "type": kind}


async def begin(
    services: Services,
    transaction: Transaction,
    caller: Principal,
    workflow_id: UUID,
    version_id: UUID,
    options: Options,
    *,
    place: Sequence[str | int] = ("body", "golden"),
) -> None:
    """Begin the golden run of a version of the locked workflow; another one that is running is superseded.

    One whose examples do not fit the version's interface has failed at once. Publish `TOPIC` after the commit. Raises
    `ValidationFailed` where the workflow keeps no examples.
    """
    kept = await queries.examples(transaction, workflow_id)
    if not kept:
        message = (
            "This workflow keeps no examples that a golden run could run. Keep one with "
            f"POST /v1/comfyui-workflows/{workflow_id}/examples or send `examples`; or leave `golden` out."
        )
        raise errors.ValidationFailed(message, errors=[_problem(place, message, "no_examples")])
    interface = Interface.from_dict(await workflows_queries.version_interface(transaction, version_id))
    rules = ValueRules(allow_http=services.settings.allow_http_inputs)
    misfits = [reason for example in kept for reason in _misfits(example, interface, rules)]
    await supersede(transaction, workflow_id)
    golden_id = new_id()
    values = {
        "id": golden_id,
        "workflow": workflow_id,
        "version": version_id,
        "status": GoldenStatus.FAILED if misfits else GoldenStatus.RUNNING,
        "reasons": misfits[:100],
        "key": caller.key_id,
        "request_id": current_origin().request_id,
        "seconds": options.timeout_seconds,
    }
    rows = [
        {"place": at, "name": one.name, "input": one.input, "evaluate": one.evaluate or options.evaluate}
        for at, one in enumerate(kept)
    ]
    await queries.insert_golden(transaction, values, rows)
    details = {"comfyui_workflow_id": str(workflow_id), "examples": len(rows)}
    await recorder.record(transaction, caller, "golden_run.started", "golden_run", golden_id, details)


def _misfits(example: ExampleRow, interface: Interface, rules: ValueRules) -> list[dict[str, Any]]:
    """Return why an example cannot be run on a version."""
    return [
        reason(
            "EXAMPLE_DOES_NOT_FIT",
            f'Example "{example.name}" does not fit this version. {problem.message} Change the example (POST '
            "…/examples with its name, and `version`), then start the golden run again.",
            example=example.name,
        )
        for problem in validate_values(interface, example.input, rules).problems
    ]


def reason(code: str, message: str, *, example: str | None = None, run_id: UUID | None = None) -> dict[str, Any]:
    """Return why a golden run ended, as the row and the wire have it."""
    return {"code": code, "message": message, "example": example, "run_id": run_id}


async def supersede(transaction: Transaction, workflow_id: UUID) -> None:
    """End the golden run of a workflow about which something newer was decided."""
    why = reason("SUPERSEDED", "A newer version of the workflow was made, promoted or put to the test meanwhile.")
    await queries.end_of_workflow(transaction, workflow_id, GoldenStatus.SUPERSEDED, why)


async def stop_deleted(transaction: Transaction, workflow_id: UUID) -> None:
    """End the golden run of a workflow that is being deleted."""
    why = reason("WORKFLOW_DELETED", "The workflow was deleted. Restore it, then start the golden run again.")
    await queries.end_of_workflow(transaction, workflow_id, GoldenStatus.CANCELLED, why)


async def latest(transaction: Transaction, workflow_ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return the record of the latest golden run of each of these workflows that has had one."""
    return {row.workflow_id: golden_record(row) for row in await queries.latest_of_workflows(transaction, workflow_ids)}


async def latest_by_version(transaction: Transaction, version_ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return the record of the latest golden run of each of these versions that has had one."""
    return {row.version_id: golden_record(row) for row in await queries.latest_of_versions(transaction, version_ids)}


# --------------------------------------------------------------------------------------------------- what the routes do
async def list_golden_runs(
    services: Services, caller: Principal, workflow_id: UUID, query: ListQuery
) -> dict[str, Any]:
    """Return a page of the golden runs of a workflow, deleted or not. Raises `WorkflowNotFound`, and as lists do."""
    async with services.db.listing(caller.org_id) as transaction:
        base = queries.golden_page(caller.org_id, workflow_id)
        found = await read_page(transaction, GOLDEN_LIST, query, base, row=GoldenRow, short=True)
        if not found.rows and not await workflows_queries.is_there(transaction, workflow_id):
            raise errors.WorkflowNotFound
    return envelope(found, [project(golden_record(row), query) for row in found.rows])


async def get_golden_run(
    services: Services, caller: Principal, workflow_id: UUID | None, golden_id: UUID, query: RecordQuery
) -> dict[str, Any]:
    """Return a golden run with its examples. Raises `GoldenRunNotFound` or `InvalidField`."""
    check_projection(query, frozenset(WholeGoldenRun.model_fields), GOLDEN_LIST.embeds)
    async with services.db.tenant(caller.org_id) as transaction:
        return project(await _whole(transaction, workflow_id, golden_id), query)


async def _whole(transaction: Transaction, workflow_id: UUID | None, golden_id: UUID) -> dict[str, Any]:
    row = await queries.golden_run(transaction, golden_id, workflow_id=workflow_id)
    if row is None:
        raise errors.GoldenRunNotFound
    return whole_record(row, await queries.examples_of(transaction, [golden_id]))


async def start(services: Services, caller: Principal, workflow_id: UUID, body: NewGoldenRun) -> dict[str, Any]:
    """Begin the golden run of a version that does not serve, also one that failed before, and return it.

    Raises `WorkflowNotFound`, `WorkflowVersionNotFound`, `ValidationFailed` without examples, or `Conflict` for a
    version that serves or is older than the one that does.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        current = await _locked(transaction, workflow_id)
        version_id = await candidate(transaction, current, body.version)
        await begin(services, transaction, caller, workflow_id, version_id, body)
        (row,) = await queries.latest_of_versions(transaction, [version_id])
        found = whole_record(row, await queries.examples_of(transaction, [row.id]))
    services.hub.publish(TOPIC)
    return found


async def candidate(transaction: Transaction, current: WorkflowRow, number: int) -> UUID:
    """Return the id of a version that could begin to serve.

    Raises `WorkflowVersionNotFound`, or `Conflict` for a version that serves or is older than the one that does.
    """
    version_id = await workflows_queries.version_id(transaction, current.id, number)
    if version_id is None:
        raise errors.WorkflowVersionNotFound
    if number > int(current.version) or not current.is_serving:
        return version_id
    if number == int(current.version):
        message = f"Version {number} serves already. Nothing is left to switch to it."
    else:
        message = (
            f"Version {number} is older than version {current.version}, which serves. "
            f'To go back, POST /v1/comfyui-workflows/{current.id}/rollbacks {{"version": "{number}"}}.'
        )
    raise errors.Conflict(message, errors=[_problem(["body", "version"], message, "conflict")])


async def cancel(
    services: Services, caller: Principal, workflow_id: UUID | None, golden_id: UUID
) -> tuple[dict[str, Any], bool]:
    """End a golden run: the version that serves goes on. Return it, and whether it was running.

    Raises `GoldenRunNotFound`.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        running = await queries.golden_run(transaction, golden_id, workflow_id=workflow_id)
        if running is None:
            raise errors.GoldenRunNotFound
        why = reason("CANCELLED", "It was cancelled by a caller.")
        was_running = await queries.end(transaction, golden_id, GoldenStatus.CANCELLED, [why])
        if was_running:
            details = {"comfyui_workflow_id": str(running.workflow_id)}
            await recorder.record(transaction, caller, "golden_run.cancelled", "golden_run", golden_id, details)
        found = await _whole(transaction, workflow_id, golden_id)
    if was_running:
        services.hub.publish(TOPIC)
    return found, was_running


async def list_examples(services: Services, caller: Principal, workflow_id: UUID, query: ListQuery) -> dict[str, Any]:
    """Return a page of the examples of a workflow. Raises `WorkflowNotFound`, and as lists do."""
    async with services.db.listing(caller.org_id) as transaction:
        base = queries.examples_page(caller.org_id, workflow_id)
        found = await read_page(transaction, EXAMPLE_LIST, query, base, row=ExampleRow, size=_size_of)
        if not found.rows and not await workflows_queries.is_there(transaction, workflow_id):
            raise errors.WorkflowNotFound
    return envelope(found, [project(example_record(row), query) for row in found.rows])


def _size_of(row: ExampleRow) -> int:
    return size_in_bytes(row.input)


async def delete_example(services: Services, caller: Principal, workflow_id: UUID | None, example_id: UUID) -> None:
    """Forget an example, of this workflow if one is named. Raises `ExampleNotFound`, `WorkflowNotFound`."""
    async with services.db.tenant(caller.org_id) as transaction:
        found = await queries.example_by_id(transaction, example_id)
        if found is None or workflow_id not in (None, found.workflow_id):
            raise errors.ExampleNotFound
        await _locked(transaction, found.workflow_id)
        await queries.forget(transaction, found.workflow_id, [found.name])
        details = {"example": found.name}
        await recorder.record(
            transaction, caller, "comfyui_workflow.example_deleted", "comfyui_workflow", found.workflow_id, details
        )


async def keep_example(
    transaction: Transaction,
    caller: Principal,
    workflow_id: UUID,
    name: str,
    *,
    values: dict[str, Any],
    evaluate: bool,
    run_id: UUID | None,
) -> tuple[dict[str, Any], bool]:
    """Store an example whose values were accepted, and return its record and whether it is new.

    Raises `WorkflowNotFound`, or `LimitReached` where the workflow keeps `MOST_EXAMPLES` others.
    """
    await _locked(transaction, workflow_id)
    others = [one.name for one in await queries.examples(transaction, workflow_id)]
    is_new = name not in others
    if is_new and len(others) >= MOST_EXAMPLES:
        raise errors.LimitReached(
            f"A workflow keeps at most {MOST_EXAMPLES} examples, for each golden run executes them all. "
            f"Delete one first: DELETE /v1/comfyui-workflows/{workflow_id}/examples/{{id}}."
        )
    row = {"id": new_id(), "name": name, "input": values, "evaluate": evaluate, "run_id": run_id}
    await queries.keep(transaction, workflow_id, {**row, "key": caller.key_id})
    details = {"example": name}
    await recorder.record(
        transaction, caller, "comfyui_workflow.example_kept", "comfyui_workflow", workflow_id, details
    )
    stored = await queries.example(transaction, workflow_id, name)
    if stored is None:
        raise errors.Internal
    return example_record(stored), is_new


async def _locked(transaction: Transaction, workflow_id: UUID) -> WorkflowRow:
    found = await workflows_queries.lock(transaction, workflow_id)
    if found is None or found.deleted_at is not None:
        raise errors.WorkflowNotFound
    return found
