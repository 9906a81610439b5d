"""What the tests of the outbox do with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from runflow.accounts.organizations import queries as orgs
from runflow.db.database import Database
from runflow.db.notifications import Hub
from runflow.deliveries.outbox import insert
from runflow.deliveries.secrets import StoredSecrets, seal
from runflow.deliveries.sending.sender import DeliverySender, Timing
from runflow.deliveries.tables import DeliveryAttemptRow, DeliveryRow
from runflow.deliveries.webhooks.tables import WebhookRow
from runflow.ids import new_id
from runflow.master_key import MasterKey
from runflow.outgoing import GuardedClient
from runflow.outgoing.client import Answer

FAST = Timing(timeout=60, margin=10, poll=0.2, grace=1, delays=(0, 0.01, 0.02))
"""Quick to try again, and patient: a machine that stalls for a second must not look like a receiver that hangs."""
ORG = new_id()
KEY = MasterKey("0123456789abcdef" * 4)
SIGNING = StoredSecrets(KEY)


class Impatient(GuardedClient):
    """Ends attempts at the ports in `limits` after so many seconds; every other receiver has the engine's time limit.

    A receiver that hangs can cost little time in a test whose other attempts a stall of the machine must not end.
    """

    def __init__(self, allowed_networks: str) -> None:
        super().__init__(allowed_networks)
        self.limits: dict[int | None, float] = {}

    async def post(
        self, url: str, content: bytes, headers: Mapping[str, str], timeout: float, keep_bytes: int
    ) -> Answer:
        seconds = self.limits.get(httpx.URL(url).port, timeout)
        return await super().post(url, content, headers, seconds, keep_bytes)


@dataclass
class Outbox:
    """The database and hints of a server process."""

    db: Database
    hub: Hub

    async def add(self, url: str, *, org_id: UUID = ORG, payload: bytes = b'{"a": 1}', **options: Any) -> UUID:
        """Put a message into the outbox as a completion does."""
        async with self.db.system() as transaction:
            made = await insert(
                transaction,
                org_id=org_id,
                kind_code="webhook" if "webhook_id" in options else "callback",
                run_id=options.pop("run_id", new_id()),
                event_type_code="run.completed",
                target_url=url,
                payload=payload,
                **options,
            )
        self.hub.publish("delivery")
        return made

    async def new_org(self) -> UUID:
        """Make an organization."""
        org_id = new_id()
        async with self.db.system() as transaction:
            await orgs.add(transaction, org_id=org_id, slug=f"org-{org_id.hex[-12:]}", name="Test")
        return org_id

    async def add_secret(self, org_id: UUID, plain: str, *, current: bool = True, key: MasterKey = KEY) -> UUID:
        """Store a callback secret."""
        secret_id = new_id()
        statement = """
            INSERT INTO callback_secrets (id, org_id, secret, key_prefix, is_current)
            VALUES (%(id)s, %(org)s, %(sealed)s, 'whsec_xxxx', %(current)s)"""
        values = {"id": secret_id, "org": org_id, "sealed": seal(key, plain, secret_id), "current": current}
        async with self.db.system() as transaction:
            await transaction.run(statement, values)
        return secret_id

    async def add_webhook(self, org_id: UUID, url: str, plain: str, *events: str, previous: str | None = None) -> UUID:
        """Store a webhook."""
        webhook_id = new_id()
        statement = """
            INSERT INTO webhooks (id, org_id, url, event_type_codes, secret, secret_fingerprint, previous_secret,
                                  previous_secret_until)
            VALUES (%(id)s, %(org)s, %(url)s, %(events)s, %(sealed)s, '', %(previous)s, now() + interval '1 hour')"""
        values = {
            "id": webhook_id,
            "org": org_id,
            "url": url,
            "events": list(events) or ["run.completed"],
            "sealed": seal(KEY, plain, webhook_id),
            "previous": seal(KEY, previous, webhook_id) if previous else None,
        }
        async with self.db.system() as transaction:
            await transaction.run(statement, values)
        return webhook_id

    async def webhook(self, webhook_id: UUID) -> WebhookRow:
        query = "SELECT * FROM webhooks WHERE id = %(id)s"
        async with self.db.system() as transaction:
            return await transaction.one(query, {"id": webhook_id}, row=WebhookRow)

    async def delivery(self, delivery_id: UUID) -> DeliveryRow:
        query = "SELECT * FROM deliveries WHERE id = %(id)s"
        async with self.db.system() as transaction:
            return await transaction.one(query, {"id": delivery_id}, row=DeliveryRow)

    async def attempts(self, delivery_id: UUID) -> list[DeliveryAttemptRow]:
        query = "SELECT * FROM delivery_attempts WHERE delivery_id = %(id)s ORDER BY attempt_number"
        async with self.db.system() as transaction:
            return await transaction.rows(query, {"id": delivery_id}, row=DeliveryAttemptRow)

    async def make_due(self, delivery_id: UUID) -> None:
        """Let the wait before the next attempt be over."""
        async with self.db.system() as transaction:
            over = "UPDATE deliveries SET next_attempt_at = now() WHERE id = %(id)s AND next_attempt_at > now()"
            assert await transaction.change(over, {"id": delivery_id}) == 1
        self.hub.publish("delivery")

    async def ended(self, *ids: UUID, seconds: float = 40) -> list[DeliveryRow]:
        """Wait until none of these is pending."""
        query = "SELECT count(*) FROM deliveries WHERE id = ANY (%(ids)s) AND status_code = 'pending'"
        async with asyncio.timeout(seconds):
            while True:
                async with self.db.system() as transaction:
                    if not await transaction.value(query, {"ids": list(ids)}, of=int):
                        break
                await asyncio.sleep(0.02)
        return [await self.delivery(delivery_id) for delivery_id in ids]


@contextlib.asynccontextmanager
async def running(*engines: DeliverySender) -> AsyncIterator[None]:
    """Run engines as the server does: until cancelled."""
    tasks = [asyncio.create_task(engine.run()) for engine in engines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def kill(task: asyncio.Task[None]) -> None:
    """End an engine in the middle of its work, as a crash of the process does: nothing is given back."""
    while not task.done():  # the first time it only stops
        task.cancel()
        await asyncio.sleep(0)
    await asyncio.gather(task, return_exceptions=True)
