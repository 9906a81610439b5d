"""Rules of webhooks."""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.accounts.organizations.limits import Limited, require_place
from runflow.db.transaction import Transaction
from runflow.deliveries.secrets import seal
from runflow.deliveries.sending import queries as waiting
from runflow.deliveries.sending.health import DisabledReason
from runflow.deliveries.signing import fingerprint, new_secret
from runflow.deliveries.webhooks import queries
from runflow.deliveries.webhooks.event_types import EVENT_TYPES
from runflow.deliveries.webhooks.queries import EVENT_TYPE_LIST, WEBHOOK_LIST, EventTypeRow
from runflow.deliveries.webhooks.schemas import CreateWebhook, EventType, PatchWebhook, Subscription, Webhook
from runflow.deliveries.webhooks.tables import WebhookRow
from runflow.ids import new_id
from runflow.outgoing.reach import refusal
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services

PREVIOUS_SECRET_SECONDS = 24 * 3600
"""How long the secret before signs beside a new one."""

TARGET = "webhook"


async def create(services: Services, caller: Principal, body: CreateWebhook) -> dict[str, Any]:
    """Make a webhook and return its record with the secret, this once.

    Raises `LimitReached` when there are too many, `ValidationFailed` for an address that is never reached.
    """
    _check_target(services, body.url)
    secret, webhook_id = body.secret or new_secret(), new_id()
    codes = list(EVENT_TYPES) if body.event_subscriptions is None else _codes(body.event_subscriptions)
    async with services.db.tenant(caller.org_id) as transaction:
        await require_place(transaction, services.settings, caller.org_id, Limited.WEBHOOKS)
        row = await queries.add(
            transaction,
            {
                "id": webhook_id,
                "org_id": caller.org_id,
                "url": body.url,
                "label": body.label,
                "event_type_codes": codes,
                "secret": seal(services.key, secret, webhook_id),
                "secret_fingerprint": fingerprint(secret),
                "created_by": caller.key_id,
            },
        )
        await recorder.record(transaction, caller, f"{TARGET}.created", TARGET, webhook_id, {"event_type_codes": codes})
    return {**record(row), "secret": secret}


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's webhooks."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, WEBHOOK_LIST, query, row=WebhookRow, short=True)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def get(services: Services, caller: Principal, webhook_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a webhook's record. Raises `WebhookNotFound` or `InvalidField`."""
    check_projection(query, WEBHOOK_LIST.response_fields, WEBHOOK_LIST.embeds)
    async with services.db.tenant(caller.org_id) as transaction:
        row = await queries.by_id(transaction, webhook_id)
    if row is None:
        raise errors.WebhookNotFound
    return project(record(row), query)


async def change(services: Services, caller: Principal, webhook_id: UUID, body: PatchWebhook) -> dict[str, Any]:
    """Change a webhook. What waits for it goes to its new URL, or fails when it is disabled.

    Raises `WebhookNotFound`, `Conflict` when it is not as the caller has read it, and `ValidationFailed` for an address
    that is never reached.
    """
    _check_target(services, body.url)
    given = body.model_fields_set - {"updated_at"}
    async with services.db.tenant(caller.org_id) as transaction:
        row = await _locked(transaction, webhook_id)
        if body.updated_at is not None and body.updated_at != row.updated_at:
            raise errors.Conflict(f"The webhook was changed at {row.updated_at.isoformat()}. Read it again.")
        if "disabled_at" in given:
            await _set_disabled(transaction, caller, row, body.disabled_at is not None)
        if body.url is not None and body.url != row.url:
            await waiting.readdress_waiting(transaction, webhook_id, body.url)
        values: dict[str, Any] = {name: getattr(body, name) for name in given & {"url", "label"}}
        if body.event_subscriptions is not None:
            values["event_type_codes"] = _codes(body.event_subscriptions)
        if body.secret is not None:
            values["secret"] = seal(services.key, body.secret, webhook_id)
            values["secret_fingerprint"] = fingerprint(body.secret)
        is_new = body.secret is not None and values["secret_fingerprint"] != row.secret_fingerprint
        if given:
            keep = PREVIOUS_SECRET_SECONDS if is_new else None
            row = await queries.change(transaction, webhook_id, values, keep_previous_seconds=keep)
            details = {"fields": sorted(given)}
            await recorder.record(transaction, caller, f"{TARGET}.changed", TARGET, webhook_id, details)
    return record(row)


async def delete(services: Services, caller: Principal, webhook_id: UUID) -> None:
    """Delete a webhook; what waits for it fails. Raises `WebhookNotFound`."""
    async with services.db.tenant(caller.org_id) as transaction:
        await _locked(transaction, webhook_id)
        await queries.remove(transaction, webhook_id)
        await waiting.give_up_waiting(transaction, webhook_id, "The webhook was deleted before this message arrived.")
        await recorder.record(transaction, caller, f"{TARGET}.deleted", TARGET, webhook_id)


async def event_types(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of event types."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, EVENT_TYPE_LIST, query, row=EventTypeRow, short=True)
    return envelope(found, [project(_event_type(row.code), query) for row in found.rows])


def event_type(code: str, query: RecordQuery) -> dict[str, Any]:
    """Return an event type. Raises `EventTypeNotFound` or `InvalidField`."""
    check_projection(query, EVENT_TYPE_LIST.response_fields, EVENT_TYPE_LIST.embeds)
    if code not in EVENT_TYPES:
        raise errors.EventTypeNotFound
    return project(_event_type(code), query)


def record(row: WebhookRow) -> dict[str, Any]:
    """Return a webhook as the wire shows it: everything but its secrets."""
    shown = {name: getattr(row, name) for name in Webhook.model_fields if name != "event_subscriptions"}
    subscriptions = [{"webhook_id": row.id, "event_type_code": code} for code in row.event_type_codes]
    return {**shown, "event_subscriptions": subscriptions}


def _event_type(code: str) -> dict[str, Any]:
    row, number = EVENT_TYPES[code], list(EVENT_TYPES).index(code) + 1
    shown = {name: getattr(row, name) for name in EventType.model_fields if name != "sort_order"}
    return {**shown, "sort_order": number}


def _check_target(services: Services, url: str | None) -> None:
    said = None if url is None else refusal(url, services.settings)
    if said is not None:
        detail = {"loc": ["body", "url"], "msg": said, "type": "blocked_address"}
        raise errors.ValidationFailed(f"url: {said}", errors=[detail])


def _codes(subscriptions: list[Subscription]) -> list[str]:
    return list(dict.fromkeys(subscription.event_type_code for subscription in subscriptions))


async def _set_disabled(transaction: Transaction, caller: Principal, row: WebhookRow, disabled: bool) -> None:
    if disabled and row.disabled_at is None:
        reason = f"Disabled by the API key {caller.key_id}. Set disabled_at to null to deliver again."
        await queries.disable(transaction, row.id, DisabledReason.MANUAL.value, reason)
        await waiting.give_up_waiting(transaction, row.id, "The webhook was disabled before this message arrived.")
    elif not disabled and row.disabled_at is not None:
        await queries.enable(transaction, row.id)


async def _locked(transaction: Transaction, webhook_id: UUID) -> WebhookRow:
    row = await queries.locked(transaction, webhook_id)
    if row is None:
        raise errors.WebhookNotFound
    return row
