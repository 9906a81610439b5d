"""Changing a workflow: its own fields in place, everything else as a new immutable version."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction, Violation
from runflow.graph import GraphWarning, Interface
from runflow.models.cached import CachedModels
from runflow.models.cached import cached_models as read_cached
from runflow.sources.known import publish as publish_approval
from runflow.web.auth import Principal
from runflow.web.services import Services
from runflow.workflows import cached_models, queries, records, resources, version_sources, writing
from runflow.workflows import warnings as workflows_warnings
from runflow.workflows.fingerprint import fingerprint as runtime_fingerprint
from runflow.workflows.golden import service as golden
from runflow.workflows.golden.schemas import Options
from runflow.workflows.graph_keys import graph_without_keys, prompt_without_keys
from runflow.workflows.interface.declared import Declared, Settled, merge_rows, read_declared, settle
from runflow.workflows.interface.rows import Merged
from runflow.workflows.prebuilds import service as prebuilds
from runflow.workflows.queries import DOCUMENTS, texts
from runflow.workflows.runtime import service as runtime
from runflow.workflows.runtime.known import TOPIC as ELIGIBILITY
from runflow.workflows.schemas import PatchWorkflow
from runflow.workflows.sent_prompt import sent_documents
from runflow.workflows.service import ROOM, TOPIC
from runflow.workflows.tables import WorkflowRow

_FILES = frozenset({"workflow_json", "models", "resources"})
"""The documents that name files, or say where they come from."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """Everything about the change that needs no database. `declared` is None where no prompt was sent."""

    documents: dict[str, str | None]
    declared: Declared | None
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    warnings: tuple[GraphWarning, ...]
    cached: CachedModels


async def patch(services: Services, caller: Principal, workflow_id: UUID, body: PatchWorkflow) -> dict[str, Any]:
    """Change a workflow and return its record with `warnings` about what was sent.

    Raises `WorkflowNotFound`, `WorkflowInvalid`, `ValidationFailed`, or `Conflict` (a taken slug, an old `updated_at`).
    """
    writing.check_timeout(services, body.timeout_seconds)
    # A large graph takes its time to check; the loop serves others meanwhile.
    draft = await asyncio.to_thread(_draft, body)
    values = writing.own_values(body)
    try:
        async with services.db.tenant(caller.org_id) as transaction:
            current = await writing.locked(transaction, workflow_id)
            writing.check_unchanged(body.updated_at, current.updated_at)
            warnings = list(draft.warnings)
            options = golden.wanted(body.golden)
            version, found = await _new_version(transaction, caller, current, draft, is_candidate=options is not None)
            warnings += found
            version_id = version.get("version_id", current.version_id)
            approved, told = await version_sources.approve(transaction, caller, version_id, body.approve_sources)
            warnings += told
            if body.prebuild:
                warnings += await prebuilds.ask_with_deployment(transaction, caller, current.id, version_id)
            sent_version = (body.model_extra or {}).get("version")
            warnings += workflows_warnings.about_version(
                sent_version, current.version, version.get("version", current.version)
            )
            mode = values.get("gpu_mode", current.gpu_mode)
            models = values.get("gpu_explicit_models", current.gpu_explicit_models)
            warnings += await writing.gpu_warnings(transaction, values, mode, models)
            warnings += await resources.warnings(transaction, body.resources)
            warnings += await cached_models.warnings(transaction, draft.cached)
            if _FILES & set(draft.documents):
                warnings += await _file_warnings(transaction, version_id)
            if values or version or body.examples is not None:
                # A version that is to be tested changes nothing of what serves.
                serves = version if options is None else {}
                await queries.update(transaction, workflow_id, {**values, **serves})
                await _test(services, transaction, caller, workflow_id, version_id, body, options if version else None)
                details = {"fields": sorted(body.model_fields_set), "version": version.get("version", current.version)}
                await recorder.record(
                    transaction, caller, "comfyui_workflow.updated", "comfyui_workflow", workflow_id, details
                )
            if options is not None and not version:
                warnings.append(_NOT_TESTED)
            row = await queries.one_record(transaction, caller.org_id, DOCUMENTS, key=workflow_id)
            if row is None:
                raise errors.WorkflowNotFound
            changed = await records.complete(transaction, [row], caller.org_slug, records.WHOLE)
    except Violation as error:
        conflict = writing.slug_conflict(error, str(values.get("slug")))
        if conflict is None:
            raise
        raise conflict from error
    services.hub.publish(TOPIC, str(workflow_id))
    if version:
        services.hub.publish(golden.TOPIC)
    if {"auto_evaluate", "evaluation_task_type"} & set(values):
        warnings += workflows_warnings.about_evaluation(changed[0])
    if "worker_labels" in values:
        services.hub.publish(ELIGIBILITY)
    if "max_running" in values:
        services.hub.publish(ROOM, str(workflow_id))
    if approved:
        publish_approval(services)
    if body.prebuild:
        prebuilds.publish(services)
    outlook = await runtime.outlook(services, caller.org_id, workflow_id, version_id, approved=approved)
    if version or draft.documents or {"gpu_mode", "gpu_explicit_models", "worker_labels"} & set(values):
        warnings = [*outlook.warnings, *warnings]
    return {**changed[0], "can_run": outlook.can_run, "warnings": workflows_warnings.answered(warnings)}


def _draft(body: PatchWorkflow) -> _Draft:
    sent = {name: getattr(body, name) for name in DOCUMENTS if name in body.model_fields_set}
    if sent.get("workflow_json") is not None:
        sent = sent_documents(sent)
    else:
        sent.pop("workflow_json", None)
    warned = (*graph_without_keys(sent.get("graph")), *prompt_without_keys(sent.get("workflow_json")))
    documents = texts(sent)
    declared = read_declared(sent["workflow_json"]) if "workflow_json" in sent else None
    warnings = (
        *warned,
        *workflows_warnings.about_models(sent.get("models")),
        *workflows_warnings.about_environment(sent.get("environment"), sent.get("custom_nodes")),
        *workflows_warnings.about_fields(body),
    )
    return _Draft(
        documents,
        declared,
        writing.stated(body.inputs),
        writing.stated(body.outputs),
        warnings,
        read_cached(sent.get("environment")),
    )


_NOT_TESTED = GraphWarning(
    None,
    "`golden` tested nothing: what was sent makes no new version.",
    "To test a version that does not serve yet, POST …/golden-runs with its number.",
)


async def _test(
    services: Services,
    transaction: Transaction,
    caller: Principal,
    workflow_id: UUID,
    version_id: UUID,
    body: PatchWorkflow,
    options: Options | None,
) -> None:
    """Store the examples that came along, and begin the golden run of the new version where one is asked for."""
    if body.examples is not None:
        interface = Interface.from_dict(await queries.version_interface(transaction, version_id))
        await golden.store_examples(services, transaction, caller, workflow_id, interface, body.examples)
    if options is not None:
        await golden.begin(services, transaction, caller, workflow_id, version_id, options)


async def _new_version(
    transaction: Transaction, caller: Principal, current: WorkflowRow, draft: _Draft, *, is_candidate: bool
) -> tuple[dict[str, Any], tuple[GraphWarning, ...]]:
    """Store the next version, if the change makes one, and return what it changes in the workflow's row.

    The rows of the interface stay as they are where it is a candidate, which does not serve yet.
    """
    settled = None
    documents = await _changed(transaction, current.version_id, draft.documents)
    if draft.declared or draft.inputs or draft.outputs:
        settled, is_changed = await _settle(transaction, caller, current, draft, is_candidate=is_candidate)
        if not is_changed and not documents:
            return {}, settled.warnings
    elif not documents:
        return {}, ()
    fingerprint = None
    if {"environment", "custom_nodes"} & set(documents):
        fingerprint = await _fingerprint(transaction, current.version_id, documents)
    version = await writing.add_version(
        transaction, caller, current, documents=documents, settled=settled, fingerprint=fingerprint
    )
    return version, settled.warnings if settled else ()


async def _changed(transaction: Transaction, version_id: UUID, sent: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return those of the documents that say something else than the version does.

    The order of keys says nothing, nor which part of a graph was on the screen. Of resources the SHA-256 says which
    file it is: whoever uploads a file again gets another asset and another URL for it.
    """
    if not sent:
        return {}
    stored = await queries.version_texts(transaction, version_id, list(sent))

    def work() -> dict[str, str | None]:
        return {name: text for name, text in sent.items() if _said(name, text) != _said(name, getattr(stored, name))}

    changed = await asyncio.to_thread(work)
    if "resources" in changed:
        before, after = (orjson.loads(text or "null") for text in (stored.resources, changed["resources"]))
        if await resources.same_files(transaction, before, after):
            del changed["resources"]
    return changed


def _said(name: str, text: str | None) -> bytes:
    document = orjson.loads(text or "null")
    extra = document.get("extra") if name == "graph" and document else None
    if isinstance(extra, dict):
        extra.pop("ds", None)
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


async def _settle(
    transaction: Transaction, caller: Principal, current: WorkflowRow, draft: _Draft, *, is_candidate: bool
) -> tuple[Settled, bool]:
    """Bring the rows of the interface up to date, but for a candidate; tell whether anything about them changes."""
    before = await writing.stored_rows(transaction, current.id)
    stored = None
    if draft.declared is None:
        stored = await queries.version_texts(transaction, current.version_id, ["workflow_json"])

    def work() -> Settled:
        if draft.declared is None:
            prompt = orjson.loads(stored.workflow_json or "{}") if stored else {}
            merged = Merged(before.inputs), Merged(before.outputs)
        else:
            prompt = draft.declared.prompt
            merged = merge_rows(draft.declared, before.inputs, before.outputs)
        return settle(prompt, *merged, draft.inputs, draft.outputs)

    settled = await asyncio.to_thread(work)
    if is_candidate:
        return settled, writing.rows_changed(before, settled)
    return settled, await writing.save_rows(transaction, caller, current.id, before, settled)


async def _file_warnings(transaction: Transaction, version_id: UUID) -> list[GraphWarning]:
    """Compare the files that the new version's prompt names with those that it declares."""
    texts = await queries.version_texts(transaction, version_id, ["workflow_json", "models", "resources"])
    interface = await queries.version_interface(transaction, version_id)

    def work() -> list[GraphWarning]:
        prompt, models, placed = (
            orjson.loads(text or "null") for text in (texts.workflow_json, texts.models, texts.resources)
        )
        known = Interface.from_dict(interface)
        return [
            *workflows_warnings.about_input_files(prompt, known, resources.paths(placed)),
            *workflows_warnings.about_named_models(prompt, known, models),
        ]

    return await asyncio.to_thread(work)


async def _fingerprint(transaction: Transaction, previous: UUID, documents: Mapping[str, str | None]) -> str:
    """Return the fingerprint of the manifest that results; the part that was not sent is the previous version's."""
    needed = ("environment", "custom_nodes")
    stored = await queries.version_texts(transaction, previous, [name for name in needed if name not in documents])
    parts = (documents[name] if name in documents else getattr(stored, name) for name in needed)
    return runtime_fingerprint(*(orjson.loads(part or "null") for part in parts))
