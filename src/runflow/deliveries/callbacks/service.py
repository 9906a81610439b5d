"""Rules of callback secrets.

An organization has any number of secrets, at most `MAX_SECRETS`, and while it has any, exactly one is current: that one
makes `Runflow-Signature`. All enabled ones sign by Standard Webhooks, so that a receiver can change from one to the
next without missing a message.
"""

from typing import Any
from uuid import UUID

from runflow import errors
from runflow.accounts.audit import recorder
from runflow.db.transaction import Transaction
from runflow.deliveries.callbacks import queries
from runflow.deliveries.callbacks.queries import SECRET_LIST
from runflow.deliveries.callbacks.schemas import CallbackSecret, CreateCallbackSecret, PatchCallbackSecret
from runflow.deliveries.callbacks.tables import CallbackSecretRow
from runflow.deliveries.secrets import seal
from runflow.deliveries.signing import PREFIX, new_secret
from runflow.ids import new_id
from runflow.web.auth import Principal
from runflow.web.lists import ListQuery, RecordQuery, check_projection, envelope, project, read_page
from runflow.web.services import Services

MAX_SECRETS = 10
"""Each signs every callback, in a header of its own length."""
SHOWN_CHARACTERS = len(PREFIX) + 4

TARGET = "callback_secret"


async def create(services: Services, caller: Principal, body: CreateCallbackSecret) -> dict[str, Any]:
    """Store a secret and return its record with the text, this once. The first one becomes the current one.

    Raises `LimitReached` when there are `MAX_SECRETS`.
    """
    plain, secret_id = body.secret or new_secret(), new_id()
    async with services.db.tenant(caller.org_id) as transaction:
        await queries.lock(transaction, caller.org_id)
        count = await queries.count(transaction)
        if count >= MAX_SECRETS:
            raise errors.LimitReached(f"An organization has at most {MAX_SECRETS} callback secrets. Delete one first.")
        row = await queries.add(
            transaction,
            {
                "id": secret_id,
                "org_id": caller.org_id,
                "label": body.label,
                "secret": seal(services.key, plain, secret_id),
                "key_prefix": plain[:SHOWN_CHARACTERS],
                "is_current": count == 0,
                "created_by": caller.key_id,
            },
        )
        details = {"is_current": row.is_current, "supplied": body.secret is not None}
        await recorder.record(transaction, caller, f"{TARGET}.created", TARGET, secret_id, details)
    return {**record(row), "plain_secret": plain}


async def list_page(services: Services, caller: Principal, query: ListQuery) -> dict[str, Any]:
    """Return a page of the organization's secrets."""
    async with services.db.listing(caller.org_id) as transaction:
        found = await read_page(transaction, SECRET_LIST, query, row=CallbackSecretRow, short=True)
    return envelope(found, [project(record(row), query) for row in found.rows])


async def get(services: Services, caller: Principal, secret_id: UUID, query: RecordQuery) -> dict[str, Any]:
    """Return a secret's record. Raises `CallbackSecretNotFound` or `InvalidField`."""
    check_projection(query, SECRET_LIST.response_fields, SECRET_LIST.embeds)
    async with services.db.tenant(caller.org_id) as transaction:
        return project(record(await _row(transaction, secret_id)), query)


async def change(
    services: Services, caller: Principal, secret_id: UUID, body: PatchCallbackSecret
) -> dict[str, Any]:  # fmt: skip
    """Rename, promote, disable or enable a secret.

    Raises `CallbackSecretNotFound`, and `Conflict` for what would leave no current secret or a disabled one.
    """
    given = body.model_fields_set
    async with services.db.tenant(caller.org_id) as transaction:
        await queries.lock(transaction, caller.org_id)
        row = await _row(transaction, secret_id)
        promoted = body.is_current is True and not row.is_current
        disabled = body.disabled_at is not None if "disabled_at" in given else row.disabled_at is not None
        _check(row, body, disabled=disabled)
        if promoted:
            await queries.demote_current(transaction)
        if "disabled_at" in given:
            await queries.set_disabled(transaction, secret_id, disabled)
        values = {"is_current": promoted or row.is_current, "label": body.label if "label" in given else row.label}
        row = await queries.change(transaction, secret_id, values)
        await recorder.record(transaction, caller, f"{TARGET}.changed", TARGET, secret_id, {"fields": sorted(given)})
    return record(row)


async def delete(services: Services, caller: Principal, secret_id: UUID) -> None:
    """Delete a secret; nothing is signed with it from now on.

    Raises `CallbackSecretNotFound`, and `Conflict` for the current one of several.
    """
    async with services.db.tenant(caller.org_id) as transaction:
        await queries.lock(transaction, caller.org_id)
        row = await _row(transaction, secret_id)
        if row.is_current and await queries.count(transaction) > 1:
            raise errors.Conflict("This is the current secret. Make another one current first (`is_current: true`).")
        await queries.remove(transaction, secret_id)
        await recorder.record(transaction, caller, f"{TARGET}.deleted", TARGET, secret_id)


def record(row: CallbackSecretRow) -> dict[str, Any]:
    """Return a secret as the wire shows it: everything but its text."""
    return {name: getattr(row, name) for name in CallbackSecret.model_fields}


def _check(row: CallbackSecretRow, body: PatchCallbackSecret, *, disabled: bool) -> None:
    if body.is_current is False and row.is_current:
        raise errors.Conflict("One secret is always current. Make another one current instead.")
    if disabled and row.is_current:
        raise errors.Conflict("The current secret cannot be disabled. Make another one current first, or delete it.")
    if disabled and body.is_current:
        raise errors.Conflict("A disabled secret cannot be current. Enable it first (`disabled_at: null`).")


async def _row(transaction: Transaction, secret_id: UUID) -> CallbackSecretRow:
    row = await queries.by_id(transaction, secret_id)
    if row is None:
        raise errors.CallbackSecretNotFound
    return row
