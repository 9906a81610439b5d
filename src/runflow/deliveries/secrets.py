"""Stored signing secrets: sealed under the master key, read when a message is about to be sent.

They are read together with the claim, so that a secret that was just made, promoted, disabled or deleted counts from
the next attempt on, in every server process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from runflow.db.transaction import Transaction
from runflow.deliveries import secrets_queries as queries
from runflow.deliveries.sending.queries import Claim
from runflow.deliveries.signing import SigningSecret, Unsendable
from runflow.master_key import CannotDecrypt, MasterKey

log = structlog.get_logger()

PURPOSE = "signing-secrets"
"""Of the key that seals them."""

OFF = Unsendable("The webhook was disabled or deleted before this message was sent.", is_final=True)
SEALED = Unsendable("Runflow could not sign this message; the server's log tells why.", is_final=False)


def seal(key: MasterKey, plain: str, row_id: UUID) -> bytes:
    """Return a secret as it is stored in the row `row_id`."""
    return key.encrypt(PURPOSE, plain.encode(), str(row_id))


def unseal(key: MasterKey, sealed: bytes, row_id: UUID) -> str:
    """Return a stored secret's text. Raises `CannotDecrypt`."""
    return key.decrypt(PURPOSE, sealed, str(row_id)).decode()


@dataclass(frozen=True, slots=True)
class StoredSecrets:
    """The `Signing` of a server process: callbacks by their organization's secrets, webhooks by their own."""

    key: MasterKey

    async def __call__(
        self, transaction: Transaction, claims: Sequence[Claim]
    ) -> Mapping[UUID, Sequence[SigningSecret] | Unsendable]:
        """Return, by the id of the claimed delivery, what signs it."""
        of_webhooks = {claim.webhook_id for claim in claims if claim.webhook_id is not None}
        of_orgs = {claim.org_id for claim in claims if claim.webhook_id is None}
        found: dict[UUID, Sequence[SigningSecret] | Unsendable] = {}
        if of_orgs:
            rows = await queries.of_organizations(transaction, of_orgs)
            found |= {org: self._opened(rows.get(org, [])) for org in of_orgs}
        if of_webhooks:
            rows = await queries.of_webhooks(transaction, of_webhooks)
            found |= {hook: self._opened(rows[hook]) if hook in rows else OFF for hook in of_webhooks}
        return {claim.id: found[claim.webhook_id or claim.org_id] for claim in claims}

    def _opened(self, rows: Sequence[tuple[UUID, bytes]]) -> Sequence[SigningSecret] | Unsendable:
        try:
            return [SigningSecret(row_id, unseal(self.key, sealed, row_id)) for row_id, sealed in rows]
        except (CannotDecrypt, ValueError) as error:  # whatever is wrong with it, other messages are claimed with it
            # Unsigned it must not go: the receiver relies on the signature.
            log.exception("cannot open a signing secret", secret_of=str(rows[0][0]), error=str(error))
            return SEALED


async def reseal_all(transaction: Transaction, old: MasterKey, new: MasterKey) -> int:
    """Seal every stored signing secret under a new master key; return how many. A second call finds nothing to do.

    Needs a transaction of the system role. Raises `CannotDecrypt` for what neither key opens: nothing may be lost.
    """
    count = 0
    for row in await queries.every_secret(transaction):
        if not new.sealed(row.sealed):
            count += 1
            fresh = seal(new, unseal(old, row.sealed, row.id), row.id)
            await queries.replace(transaction, row.place, row.id, fresh)
    return count
