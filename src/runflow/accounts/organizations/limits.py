"""How much of everything an organization may have: what a caller could otherwise fill the installation with.

Each limit is a setting of the operator (docs/api/organizations.md, "Limits"). The check runs in the
transaction that adds something, under a lock, so that two requests at once do not both take the last place.
"""

from enum import StrEnum
from uuid import UUID

from runflow import errors
from runflow.accounts.organizations import queries
from runflow.db.transaction import Transaction
from runflow.settings import Settings


class Limited(StrEnum):
    """What is counted; the value is what messages call it."""

    API_KEYS = "API keys"
    MEMBERS = "members"
    ASSET_FOLDERS = "asset folders"
    WEBHOOKS = "webhooks"


_SETTINGS = {
    Limited.API_KEYS: "max_api_keys",
    Limited.MEMBERS: "max_members",
    Limited.ASSET_FOLDERS: "max_asset_folders",
    Limited.WEBHOOKS: "max_webhooks",
}


async def require_place(transaction: Transaction, settings: Settings, org_id: UUID, what: Limited) -> None:
    """Raise `LimitReached` when the tenant of this transaction has as many of these as it may have."""
    name = _SETTINGS[what]
    most = getattr(settings, name)
    await queries.lock(transaction, org_id, what)
    if await queries.count(transaction, what) >= most:
        raise errors.LimitReached(
            f"An organization has at most {most} {what} here. Delete one that you no longer need, or ask the operator "
            f"for more ({_variable(name)})."
        )


async def require_storage(transaction: Transaction, settings: Settings, org_id: UUID, size_bytes: int) -> None:
    """Raise `LimitReached` when so many more bytes are more than the tenant of this transaction may store.

    Uploads and models count, those too that were only declared so far. Outputs do not: retention removes them.
    """
    most = settings.max_stored_bytes
    if most is None:
        return
    await queries.lock(transaction, org_id, "bytes")
    stored = await queries.stored_bytes(transaction)
    if stored + size_bytes > most:
        raise errors.LimitReached(
            f"Your organization stores {stored} of at most {most} bytes in uploads and models; {size_bytes} more do "
            "not fit. Delete assets or models (their bytes count until they are removed, about a day later), or ask "
            f"the operator for more ({_variable('max_stored_bytes')})."
        )


async def require_place_for_organization(transaction: Transaction, settings: Settings) -> None:
    """Raise `LimitReached` when callers may make no further organization in this installation."""
    if await queries.count_organizations(transaction) >= settings.max_organizations:
        raise errors.LimitReached(
            f"This installation takes no more organizations from callers ({_variable('max_organizations')}). The "
            "operator can make one: `runflow orgs create`."
        )


def _variable(name: str) -> str:
    return f"RUNFLOW_{name.upper()}"
