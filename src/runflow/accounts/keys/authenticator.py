"""Finds who holds a token, from memory where it can.

A revocation reaches this process as a hint on the topic "key"; while hints cannot arrive (`Hub.connected` is false)
every request asks the database.
"""

import time
from uuid import UUID

import psycopg
import structlog

from runflow import errors
from runflow.accounts.keys import queries
from runflow.db.database import Database
from runflow.db.notifications import Hub
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
        self._hub = hub
        self._principals: dict[bytes, tuple[Principal, float]] = {}
        self._workers: dict[bytes, tuple[UUID, float]] = {}
        self._used: set[UUID] = set()
        self._generation = 0
        hub.on("key", self._forget)

    def remembered(self, token: str) -> Principal | None:
        """Return the holder of an API key without asking the database; None when that is not enough."""
        found, until = self._principals.get(token_hash(token), (None, 0.0))
        if found is None or until < time.time() or not self._hub.connected:
            return None
        self._used.add(found.key_id)
        return found

    async def principal(self, token: str) -> Principal | None:
        """Return the holder of an API key, or None when it is unknown, expired or revoked."""
        found = self.remembered(token) or await self._look_up(token_hash(token))
        if found is not None:
            self._used.add(found.key_id)
        return found

    def remembered_worker(self, token: str) -> UUID | None:
        """Return the id of a worker token without asking the database; None when that is not enough."""
        found, until = self._workers.get(token_hash(token), (None, 0.0))
        return found if until >= time.time() and self._hub.connected else None

    async def worker(self, token: str) -> UUID | None:
        """Return the id of a worker token, or None when it is unknown or revoked."""
        if (remembered := self.remembered_worker(token)) is not None:
            return remembered
        digest = token_hash(token)
        generation = self._generation
        async with self._db.system() as transaction:
            found = await queries.worker_token(transaction, digest)
        if found is not None and generation == self._generation:
            self._workers[digest] = (found, time.time() + REMEMBER_SECONDS)
        return found

    async def note_use(self) -> None:
        """Write `last_used_at` of the keys that were used since the last call. Called by the sweeper."""
        used, self._used = self._used, set()
        if not used:
            return
        try:
            async with self._db.system(durable=False) as transaction:
                await queries.touch(transaction, list(used))
        except (psycopg.Error, errors.Unavailable):
            self._used |= used
            raise

    async def _look_up(self, digest: bytes) -> Principal | None:
        generation = self._generation
        async with self._db.system() as transaction:
            row = await queries.holder(transaction, digest)
        now = time.time()
        if row is None or (row.expires_at is not None and row.expires_at.timestamp() <= now):
            return None
        found = Principal(
            key_id=row.id,
            org_id=row.org_id,
            org_slug=row.slug,
            scopes=frozenset(row.scopes),
            expires_at=row.expires_at,
            rate_limit=row.rate_limit_per_second,
        )
        until = now + REMEMBER_SECONDS
        if row.expires_at is not None:
            until = min(until, row.expires_at.timestamp())
        # A change that arrived while we looked wins over what we saw.
        if generation == self._generation:
            if len(self._principals) >= MAX_REMEMBERED:
                self._principals.clear()
            self._principals[digest] = (found, until)
        return found

    def _forget(self, _subject: str) -> None:
        self._generation += 1
        self._principals.clear()
        self._workers.clear()
