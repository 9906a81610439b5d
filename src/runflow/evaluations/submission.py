"""Rules of submitting an image: every reference is checked, inline files become assets, the price is frozen."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from runflow import errors
from runflow.assets import service as assets
from runflow.evaluations import queries
from runflow.evaluations.classes import price_of
from runflow.evaluations.schemas import EvaluationCreate
from runflow.evaluations.service import EvaluationReader
from runflow.graph import MediaKind, MediaReferenceError, media_reference
from runflow.ids import new_id
from runflow.metering.budget import require_credit
from runflow.outgoing import InvalidUrl, check_url
from runflow.outgoing.urls import origin, parse_origins
from runflow.runs.references import PREFIX, asset_id
from runflow.services import Services
from runflow.web.auth import Principal

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
    async with services.db.tenant(caller.org_id) as connection:
        await _require_assets(connection, image, references)
        row = await queries.add(connection, values)
        made = await reader.created(connection, row, base_url)
    services.hub.publish(TOPIC)
    return made


async def _workflow_of(services: Services, caller: Principal, run_id: UUID | None) -> UUID | None:
    """Return the workflow of the run that made the image; looked up before any inline file is stored."""
    if run_id is None:
        return None
    async with services.db.tenant(caller.org_id) as connection:
        found: UUID | None = await queries.workflow_of_run(connection, run_id)
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


async def _require_assets(connection: AsyncConnection, image: str, references: list[dict[str, Any]]) -> None:
    named: list[tuple[tuple[str | int, ...], str]] = [(("generated_image_url",), image)]
    named += [(("reference_images", number, "url"), image["url"]) for number, image in enumerate(references)]
    wanted = {found for _, url in named if (found := asset_id(url)) is not None}
    known = await assets.use(connection, wanted)
    for where, url in named:
        found = asset_id(url)
        if found is not None and found not in known:
            message = f"There is no asset {url} in your organization. Upload the file first."
            raise _refused(where, message, "unknown_asset")


def _refused(where: tuple[str | int, ...], message: str, kind: str) -> errors.ValidationFailed:
    return errors.ValidationFailed(message, errors=[{"loc": ["body", *where], "msg": message, "type": kind}])
