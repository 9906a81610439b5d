"""Rules of evaluations: asking for them, reading them, feedback on them."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.assets import service as assets
from runflow.assets.references import PREFIX, asset_id
from runflow.billing.budget import require_credit
from runflow.db.transaction import Transaction
from runflow.evaluations import queries
from runflow.evaluations.classes import price_of
from runflow.evaluations.queries import EVALUATION_LIST
from runflow.evaluations.schemas import EvaluationCreate, Feedback, action_record, judge_records, record, references_in
from runflow.evaluations.tables import EvaluationRow
from runflow.graph import MediaKind, MediaReferenceError, media_reference
from runflow.ids import new_id
from runflow.outgoing import InvalidUrl, check_url
from runflow.outgoing.urls import origin, parse_origins
from runflow.runs.preparation import callback_faults
from runflow.runs.service import RunReader
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services


class EvaluationReader:
    """Reads evaluations for their callers."""

    def __init__(self, services: Services, runs: RunReader) -> None:
        """Read with these parts."""
        self._services = services
        self._runs = runs

    async def get(self, caller: Principal, evaluation_id: UUID, base_url: str, query: RecordQuery) -> dict[str, Any]:
        """Return an evaluation. Raises `EvaluationNotFound` or `InvalidField`."""
        check_projection(query, EVALUATION_LIST.response_fields, EVALUATION_LIST.embeds)
        async with self._services.db.tenant(caller.org_id) as transaction:
            row = await _existing(transaction, caller, evaluation_id)
            records = await self._records(transaction, [row], base_url, query.embed)
        await self._embed_runs(caller, records, base_url, query.embed)
        return project(records[0], query)

    async def list_page(
        self, caller: Principal, base_url: str, query: ListQuery, run_id: UUID | None = None
    ) -> dict[str, Any]:
        """Return a page of the organization's evaluations, with `run_id` those of one run.

        Raises `RunNotFound` or what a bad query raises.
        """
        async with self._services.db.listing(caller.org_id) as transaction:
            if run_id is None:
                base = queries.selection(caller.org_id)
            else:
                if not await queries.run_exists(transaction, run_id):
                    raise errors.RunNotFound
                base = queries.of_run(caller.org_id, run_id)
            found = await read_page(transaction, EVALUATION_LIST, query, base, row=EvaluationRow)
            records = await self._records(transaction, found.rows, base_url, query.embed)
        await self._embed_runs(caller, records, base_url, query.embed)
        return envelope(found, [project(item, query) for item in records])

    async def set_feedback(
        self, caller: Principal, evaluation_id: UUID, body: Feedback, base_url: str, run_id: UUID | None = None
    ) -> dict[str, Any]:
        """Set or clear feedback and return the evaluation; with `run_id` it must belong to that run.

        Without `is_positive` there is no feedback, so no reason is kept either. Raises `RunNotFound` or
        `EvaluationNotFound`.
        """
        reason = None if body.is_positive is None else body.reason
        async with self._services.db.tenant(caller.org_id) as transaction:
            if run_id is not None and not await queries.run_exists(transaction, run_id):
                raise errors.RunNotFound
            await _existing(transaction, caller, evaluation_id, run_id)
            await queries.set_feedback(transaction, evaluation_id, body.is_positive, reason)
            details = {"is_positive": body.is_positive}
            await recorder.record(transaction, caller, "evaluation.feedback_set", "evaluation", evaluation_id, details)
            row = await _existing(transaction, caller, evaluation_id)
            return (await self._records(transaction, [row], base_url))[0]

    async def created(self, transaction: Transaction, row: EvaluationRow, base_url: str) -> dict[str, Any]:
        """Return the record of an evaluation inside the transaction that made it."""
        return (await self._records(transaction, [row], base_url))[0]

    async def _records(
        self, transaction: Transaction, rows: Sequence[EvaluationRow], base_url: str, embed: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        wanted = set().union(*(references_in(row) for row in rows))
        signed = {
            asset: self._services.storage.download_url(
                base_url,
                file.object_key,
                filename=file.filename,
                content_type=file.mime_type,
                seconds=self._services.settings.output_url_seconds,
            )
            for asset, file in (await assets.resolve(transaction, wanted)).items()
        }
        records = [record(self._services, base_url, row, signed) for row in rows]
        if {"judges", "gate_failures"} & set(embed):
            ids = [row.id for row in rows]
            judges = judge_records(await queries.judges_of(transaction, ids), await queries.issues_of(transaction, ids))
            for item in records:
                said = judges.get(item["id"], [])
                if "judges" in embed:
                    item["judges"] = said
                if "gate_failures" in embed:
                    item["gate_failures"] = [judge for judge in said if judge["is_gate"] and judge["passed"] is False]
        if "action" in embed:
            for item in records:
                item["action"] = action_record(item["primary_action_code"])
        return records

    async def _embed_runs(
        self, caller: Principal, records: list[dict[str, Any]], base_url: str, embed: Sequence[str]
    ) -> None:
        if "run" not in embed:
            return
        wanted = list({item["run_id"] for item in records if item["run_id"] is not None})
        found = await self._runs.by_ids(caller, wanted, base_url) if wanted else {}
        for item in records:
            item["run"] = found.get(item["run_id"])


async def _existing(
    transaction: Transaction, caller: Principal, evaluation_id: UUID, run_id: UUID | None = None
) -> EvaluationRow:
    row = await queries.by_id(transaction, caller.org_id, evaluation_id, run_id)
    if row is None:
        raise errors.EvaluationNotFound
    return row


TOPIC = "evaluation"
"""The hint after an evaluation was queued."""


async def submit(
    services: Services,
    reader: EvaluationReader,
    caller: Principal,
    body: EvaluationCreate,
    base_url: str,
    request_id: str | None,
) -> dict[str, Any]:
    """Queue an evaluation and return its record.

    Raises `ValidationFailed` naming the field, or `InsufficientCredit` when it has a price and the budget is used up.
    """
    price = price_of(services.settings, body.job_class)
    if price:
        await require_credit(services, caller.org_id)
    workflow_id = await _workflow_of(services, caller, body.run_id)
    image = await _stored(services, caller, body.generated_image_url, ("generated_image_url",))
    references = [
        {
            "url": await _stored(services, caller, reference.url, ("reference_images", number, "url")),
            "kind": reference.kind,
            "description": reference.description,
        }
        for number, reference in enumerate(body.reference_images or ())
    ]
    if faults := callback_faults(services, body.callback_url):
        raise errors.ValidationFailed(str(faults[0]["msg"]), errors=faults)
    values = {
        "id": new_id(),
        "org_id": caller.org_id,
        "run_id": body.run_id,
        "comfyui_workflow_id": workflow_id,
        "job_class_code": body.job_class,
        "task_type": body.task_type,
        "task_description": body.task_description,
        "generation_prompt": body.generation_prompt,
        "evaluation_instructions": body.evaluation_instructions,
        "generated_image_url": image,
        "image_object_key": own_file(services, image),
        "input_attributes": body.input_attributes,
        "reference_images": references,
        "client_ref": body.client_ref,
        "callback_url": body.callback_url,
        "request_id": request_id,
        "created_by": caller.key_id,
        "price": price,
    }
    async with services.db.tenant(caller.org_id) as transaction:
        await _require_assets(transaction, image, references)
        row = await queries.add(transaction, values)
        made = await reader.created(transaction, row, base_url)
    services.hub.publish(TOPIC)
    return made


async def _workflow_of(services: Services, caller: Principal, run_id: UUID | None) -> UUID | None:
    """Return the workflow of the run that made the image; looked up before any inline file is stored."""
    if run_id is None:
        return None
    async with services.db.tenant(caller.org_id) as transaction:
        found = await queries.workflow_of_run(transaction, run_id)
    if found is None:
        raise _refused(("run_id",), f"There is no run {run_id} in your organization.", "unknown_run")
    return found


async def _stored(services: Services, caller: Principal, url: str, where: tuple[str | int, ...]) -> str:
    """Return the URL to keep: that of a `data:` URI is a reference to the asset that was made of it."""
    try:
        media = media_reference(url)
    except MediaReferenceError as error:
        raise _refused(where, str(error), "invalid_reference") from None
    if media.kind is MediaKind.DATA:
        try:
            return f"{PREFIX}{await assets.store_data_uri(services, caller, url, 'evaluated')}"
        except errors.ValidationFailed as error:
            raise _refused(where, error.message, "invalid_reference") from None
    if (
        media.kind is MediaKind.HTTP
        and not services.settings.allow_http_inputs
        and own_file(services, url) is None
        and not _is_in_own_bucket(services, url)
    ):
        message = "Send an https:// URL, runflow://assets/{uuid} or a data: URI. The operator can allow http:// URLs."
        raise _refused(where, message, "invalid_reference")
    return media.value


def own_file(services: Services, url: str) -> str | None:
    """Return the object key of a valid signed URL of this server; None for any other URL.

    Whoever holds such a URL may read the file, so it may be judged: without a way over the network, and also after the
    URL has expired.
    """
    try:
        grant = services.storage.signer.own_grant(url)
    except errors.UrlExpired:
        return None
    return None if grant is None else grant.key


def _is_in_own_bucket(services: Services, url: str) -> bool:
    """Tell whether this is an address of the bucket that the operator configured, whatever its scheme."""
    bucket = services.settings.bucket
    try:
        return bucket is not None and origin(check_url(url)) in parse_origins([bucket.origin])
    except InvalidUrl:
        return False


async def _require_assets(transaction: Transaction, image: str, references: list[dict[str, Any]]) -> None:
    named: list[tuple[tuple[str | int, ...], str]] = [(("generated_image_url",), image)]
    named += [(("reference_images", number, "url"), image["url"]) for number, image in enumerate(references)]
    wanted = {found for _, url in named if (found := asset_id(url)) is not None}
    known = await assets.use(transaction, wanted)
    for where, url in named:
        found = asset_id(url)
        if found is not None and found not in known:
            message = f"There is no asset {url} in your organization. Upload the file first."
            raise _refused(where, message, "unknown_asset")


def _refused(where: tuple[str | int, ...], message: str, kind: str) -> errors.ValidationFailed:
    return errors.ValidationFailed(message, errors=[{"loc": ["body", *where], "msg": message, "type": kind}])
