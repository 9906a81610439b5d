"""Creating a workflow: its first version, its interface, its rows, in one transaction."""

import asyncio
from dataclasses import dataclass
from typing import Any

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Violation
from runflow.graph import GraphWarning, SlugError
from runflow.ids import new_id
from runflow.models.cached import CachedModels
from runflow.models.cached import cached_models as read_cached
from runflow.sources.known import publish as publish_approval
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import cached_models, records, resources, version_sources, writing
from runflow.workflows import queries as workflows_queries
from runflow.workflows import warnings as workflows_warnings
from runflow.workflows.fields import WORKFLOW, GpuMode
from runflow.workflows.fingerprint import fingerprint
from runflow.workflows.golden import service as golden
from runflow.workflows.graph_keys import graph_without_keys, prompt_without_keys
from runflow.workflows.interface import queries
from runflow.workflows.interface.declared import Settled, first_rows, read_declared, settle
from runflow.workflows.interface.rows import InputRow, OutputRow
from runflow.workflows.prebuilds import service as prebuilds
from runflow.workflows.queries import DOCUMENTS, texts
from runflow.workflows.runtime import service as runtime
from runflow.workflows.runtime.known import TOPIC as ELIGIBILITY
from runflow.workflows.schemas import CreateWorkflow
from runflow.workflows.sent_prompt import sent_documents
from runflow.workflows.service import TOPIC


@dataclass(frozen=True, slots=True)
class _Draft:
    """Everything about a new workflow that needs no database."""

    slug: str
    documents: dict[str, str | None]
    settled: Settled
    fingerprint: str
    warnings: tuple[GraphWarning, ...]
    cached: CachedModels


async def create(services: Services, caller: Principal, body: CreateWorkflow) -> dict[str, Any]:
    """Create a workflow and return its record with `warnings`.

    Raises `WorkflowInvalid`, `ValidationFailed`, or `Conflict` where the slug is taken.
    """
    writing.check_timeout(services, body.timeout_seconds)
    # A large graph takes its time to check; the loop serves others meanwhile.
    draft = await asyncio.to_thread(_draft, body)
    workflow_id, version_id = new_id(), new_id()
    values = writing.own_values(body)
    try:
        async with services.db.tenant(caller.org_id) as transaction:
            mode, models = values.get("gpu_mode", GpuMode.AUTO), values.get("gpu_explicit_models", [])
            late = await writing.gpu_warnings(transaction, values, mode, models)
            late += await resources.warnings(transaction, body.resources)
            late += await cached_models.warnings(transaction, draft.cached)
            options = golden.wanted(body.golden)
            own = {
                "is_serving": options is None,
                "id": workflow_id,
                "org_id": caller.org_id,
                "created_by": caller.key_id,
            }
            await workflows_queries.insert_workflow(
                transaction, values | own | {"slug": draft.slug, "version_id": version_id, "version": "1"}
            )
            version = {"id": version_id, "org_id": caller.org_id, "workflow_id": workflow_id, "number": 1}
            version |= {"interface": draft.settled.frozen(), "fingerprint": draft.fingerprint}
            await workflows_queries.insert_version(
                transaction, version | {"created_by": caller.key_id}, draft.documents
            )
            await version_sources.note(transaction, caller.org_id, version_id)
            approved, told = await version_sources.approve(transaction, caller, version_id, body.approve_sources)
            late += told
            if body.prebuild:
                late += await prebuilds.ask_with_deployment(transaction, caller, workflow_id, version_id)
            where = {"org_id": caller.org_id, "workflow_id": workflow_id}
            await queries.save(transaction, InputRow, **where, before=(), merged=draft.settled.inputs)
            await queries.save(transaction, OutputRow, **where, before=(), merged=draft.settled.outputs)
            if body.examples is not None:
                await golden.store_examples(
                    services, transaction, caller, workflow_id, draft.settled.interface, body.examples
                )
            if options is not None:
                await golden.begin(services, transaction, caller, workflow_id, version_id, options)
            details = {"slug": draft.slug, "version": "1"}
            await recorder.record(
                transaction, caller, "comfyui_workflow.created", "comfyui_workflow", workflow_id, details
            )
            row = await workflows_queries.one_record(transaction, caller.org_id, DOCUMENTS, key=workflow_id)
            if row is None:
                raise errors.Internal
            found = await records.complete(transaction, [row], caller.org_slug, records.WHOLE)
    except Violation as error:
        conflict = writing.slug_conflict(error, draft.slug)
        if conflict is None:
            raise
        raise conflict from error
    services.hub.publish(TOPIC, str(workflow_id))
    if options is not None:
        services.hub.publish(golden.TOPIC)
    late += workflows_warnings.about_evaluation(found[0])
    if approved:
        publish_approval(services)
    if body.prebuild:
        prebuilds.publish(services)
    outlook = await runtime.outlook(services, caller.org_id, workflow_id, approved=approved)
    if values.get("worker_labels"):
        services.hub.publish(ELIGIBILITY)
    warnings = workflows_warnings.answered((*outlook.warnings, *draft.warnings, *late))
    return {**found[0], "can_run": outlook.can_run, "warnings": warnings}


def _draft(body: CreateWorkflow) -> _Draft:
    try:
        slug = body.slug or WORKFLOW.derived(body.name)
    except SlugError as error:
        raise writing.invalid("slug", str(error)) from None
    sent = sent_documents({name: getattr(body, name) for name in DOCUMENTS})
    # Before anything else is made of the documents: what they hold is stored, shown and repeated.
    warned = (*graph_without_keys(sent["graph"]), *prompt_without_keys(sent["workflow_json"]))
    documents = texts(sent)
    declared = read_declared(sent["workflow_json"])
    settled = settle(declared.prompt, *first_rows(declared), writing.stated(body.inputs), writing.stated(body.outputs))
    warnings = (
        *warned,
        *settled.warnings,
        *workflows_warnings.about_models(body.models),
        *workflows_warnings.about_environment(body.environment, body.custom_nodes),
        *workflows_warnings.about_input_files(declared.prompt, settled.interface, resources.paths(body.resources)),
        *workflows_warnings.about_named_models(declared.prompt, settled.interface, body.models),
        *workflows_warnings.about_fields(body),
        *workflows_warnings.about_version((body.model_extra or {}).get("version"), "1"),
    )
    return _Draft(
        slug,
        documents,
        settled,
        fingerprint(body.environment, body.custom_nodes),
        warnings,
        read_cached(body.environment),
    )
