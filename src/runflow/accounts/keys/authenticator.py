"""Finds who holds a token, from memory where it can.

A revocation reaches this process as a hint on the topic "key"; while hints cannot arrive (`Hub.connected` is false)
every request asks the database.
"""

import time
from uuid import UUID

import structlog

from runflow import errors
from runflow.accounts.keys import queries
from runflow.db.database import Database
from runflow.db.hint_cache import HintCache
from runflow.db.notifications import Hub
from runflow.db.transaction import CONNECTION_TROUBLE
from runflow.ids import token_hash
from runflow.web.auth import Principal

log = structlog.get_logger()

REMEMBER_SECONDS = 30.0
MAX_REMEMBERED = 10_000


class KeyRing:
    """The `Authenticator` of a server process. Unknown tokens are never remembered."""

    def __init__(self, db: Database, hub: Hub) -> None:
        """Forget everything whenever any key changes."""
        self._db = db
        self._principals: HintCache[bytes, Principal | None] = HintCache(
            hub, "key", lives=_seconds, most=MAX_REMEMBERED
        )
        self._workers: HintCache[bytes, UUID | None] = HintCache(
            hub, "key", lives=lambda found: REMEMBER_SECONDS if found else 0, most=MAX_REMEMBERED
        )
        self._used: set[UUID] = set()

    def remembered(self, token: str) -> Principal | None:
        """Return the holder of an API key without asking the database; None when that is not enough."""
        return self._noted(self._principals.held(token_hash(token)))

    async def principal(self, token: str) -> Principal | None:
        """Return the holder of an API key, or None when it is unknown, expired or revoked."""
        digest = token_hash(token)
        return self._noted(await self._principals.get(digest, lambda: self._look_up(digest)))

    def remembered_worker(self, token: str) -> UUID | None:
        """Return the id of a worker token without asking the database; None when that is not enough."""
        return self._workers.held(token_hash(token))

    async def worker(self, token: str) -> UUID | None:
        """Return the id of a worker token, or None when it is unknown or revoked."""
        digest = token_hash(token)
        return await self._workers.get(digest, lambda: self._look_up_worker(digest))

    async def note_use(self) -> None:
        """Write `last_used_at` of the keys that were used since the last call. Called by the sweeper."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            async with self._db.system(durable=False) as transaction:
                await queries.touch(transaction, list(used))
        except (*CONNECTION_TROUBLE, errors.Unavailable):
            self._used |= used
            raise

    def _noted(self, found: Principal | None) -> Principal | None:
        if found is not None:
            self._used.add(found.key_id)
        return found

    async def _look_up(self, digest: bytes) -> Principal | None:
        async with self._db.system() as transaction:
            row = await queries.holder(transaction, digest)
        if row is None or (row.expires_at is not None and row.expires_at.timestamp() <= time.time()):
            return None
        return Principal(
            key_id=row.id,
            org_id=row.org_id,
            org_slug=row.slug,
            scopes=frozenset(row.scopes),
            expires_at=row.expires_at,
            rate_limit=row.rate_limit_per_second,
        )

    async def _look_up_worker(self, digest: bytes) -> UUID | None:
        async with self._db.system() as transaction:
            return await queries.worker_token(transaction, digest)


def _seconds(found: Principal | None) -> float:
    """Return for how long a holder is remembered: never beyond the key's end."""
    if found is None:
        return 0
    if found.expires_at is None:
        return REMEMBER_SECONDS
    return min(REMEMBER_SECONDS, found.expires_at.timestamp() - time.time())
