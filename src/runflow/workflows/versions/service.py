"""Rules of versions: only their owner reads them, of a deleted workflow too; going back makes a new one."""

import asyncio
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services
from runflow.workflows import queries as workflows
from runflow.workflows import queries as workflows_queries
from runflow.workflows import records, resources, writing
from runflow.workflows import warnings as workflows_warnings
from runflow.workflows.golden import service as golden
from runflow.workflows.golden.schemas import Promotion
from runflow.workflows.queries import DOCUMENTS, size_of
from runflow.workflows.runtime import service as runtime
from runflow.workflows.service import TOPIC
from runflow.workflows.versions import queries
from runflow.workflows.versions import queries as versions
from runflow.workflows.versions.promotion import NEEDED, restored, switch
from runflow.workflows.versions.queries import VERSION_LIST, VersionWithTexts, name_of, number_of, record
from runflow.workflows.versions.schemas import Rollback


async def list_page(services: Services, caller: Principal, workflow_id: UUID, query: ListQuery) -> dict[str, Any]:
    """Return a page of the versions. Documents and interface are read only where `fields` names them.

    Raises `WorkflowNotFound`, InvalidFilter, InvalidSort, InvalidCursor or InvalidField.
    """
    texts = [name for name in queries.TEXTS if name in (query.fields or ())]
    base = queries.of_workflow(workflow_id, texts)
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(
            transaction,
            VERSION_LIST,
            query,
            base,
            row=VersionWithTexts,
            short=not texts,
            size=(lambda row: size_of(row, texts)) if texts else None,
        )
        if not found.rows and not await workflows.is_there(transaction, workflow_id):
            raise errors.WorkflowNotFound
        tested = await golden.latest_by_version(transaction, [row.id for row in found.rows])
    return envelope(found, [project(record(row, texts, tested.get(row.id)), query) for row in found.rows])


async def get(
    services: Services, caller: Principal, workflow_id: UUID | None, version: str, query: RecordQuery
) -> dict[str, Any]:
    """Return one version with its documents, by its id, or of this workflow by its number as well.

    Raises `WorkflowNotFound`, `WorkflowVersionNotFound`, `InvalidField`.
    """
    check_projection(query, VERSION_LIST.response_fields, VERSION_LIST.embeds)
    texts = queries.TEXTS if query.fields is None else query.fields
    async with services.db.tenant(caller.org_id) as transaction:
        if workflow_id is not None and not await workflows.is_there(transaction, workflow_id):
            raise errors.WorkflowNotFound
        row = await queries.one(transaction, workflow_id, name_of(version, workflow_id), texts)
        if row is None:
            raise errors.WorkflowVersionNotFound
        tested = await golden.latest_by_version(transaction, [row.id])
    return project(record(row, texts, tested.get(row.id)), query)


async def roll_back(services: Services, caller: Principal, workflow_id: UUID, body: Rollback) -> dict[str, Any]:
    """Make a new version with the content of an earlier one and return the workflow's record with `warnings`.

    The rows of the interface become exactly those that the earlier version froze. With `golden` both wait until the
    new version has passed. Raises `WorkflowNotFound`,
    `WorkflowVersionNotFound`.
    """
    number = number_of(body.version)
    async with services.db.tenant(caller.org_id) as transaction:
        current = await writing.locked(transaction, workflow_id)
        wanted = await versions.one(transaction, workflow_id, number, NEEDED)
        if wanted is None:
            raise errors.WorkflowVersionNotFound
        before = await writing.stored_rows(transaction, workflow_id)
        # A large graph takes its time to check; the loop serves others meanwhile.
        settled, warnings = await asyncio.to_thread(restored, wanted, before, current.version)
        warnings += await resources.warnings(transaction, orjson.loads(wanted.resources or "null"))
        options = golden.wanted(body.golden)
        version = await writing.add_version(transaction, caller, current, documents={}, source=wanted.id)
        if options is None:
            await writing.save_rows(transaction, caller, workflow_id, before, settled)
            await workflows_queries.update(transaction, workflow_id, version)
        else:
            await golden.begin(services, transaction, caller, workflow_id, version["version_id"], options)
        details = {"to": str(number), "version": version["version"]}
        await recorder.record(
            transaction, caller, "comfyui_workflow.rolled_back", "comfyui_workflow", workflow_id, details
        )
        row = await workflows_queries.one_record(transaction, caller.org_id, DOCUMENTS, key=workflow_id)
        if row is None:
            raise errors.WorkflowNotFound
        found = await records.complete(transaction, [row], caller.org_slug, records.WHOLE)
    services.hub.publish(TOPIC, str(workflow_id))
    services.hub.publish(golden.TOPIC)
    outlook = await runtime.outlook(services, caller.org_id, workflow_id, version["version_id"])
    told = workflows_warnings.answered((*outlook.warnings, *warnings))
    return {**found[0], "can_run": outlook.can_run, "warnings": told}


async def promote(services: Services, caller: Principal, workflow_id: UUID, body: Promotion) -> dict[str, Any]:
    """Let a version serve that does not, whatever its golden run said, and return the workflow's record.

    Raises `WorkflowNotFound`, `WorkflowVersionNotFound`, or `Conflict` for a version that serves or is older than the
    one that does.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        current = await writing.locked(transaction, workflow_id)
        version_id = await golden.candidate(transaction, current, body.version)
        await golden.supersede(transaction, workflow_id)
        await switch(transaction, caller, current, version_id, body.version)
        details = {"version": str(body.version), "from": current.version}
        await recorder.record(
            transaction, caller, "comfyui_workflow.promoted", "comfyui_workflow", workflow_id, details
        )
        row = await workflows_queries.one_record(transaction, caller.org_id, DOCUMENTS, key=workflow_id)
        if row is None:
            raise errors.WorkflowNotFound
        found = await records.complete(transaction, [row], caller.org_slug, records.WHOLE)
    services.hub.publish(TOPIC, str(workflow_id))
    services.hub.publish(golden.TOPIC)
    outlook = await runtime.outlook(services, caller.org_id, workflow_id)
    return {**found[0], "can_run": outlook.can_run, "warnings": workflows_warnings.answered(outlook.warnings)}
