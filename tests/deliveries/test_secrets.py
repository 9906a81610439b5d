"""What signs a message, judged by the public Standard Webhooks package and by a plain HMAC."""

import base64
import hashlib
import hmac
import os
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from runflow.deliveries.secrets import PURPOSE, StoredSecrets, reseal_all, seal, unseal
from runflow.deliveries.sending.sender import DeliverySender
from runflow.ids import new_id
from runflow.master_key import CannotDecrypt, MasterKey
from runflow.outgoing import GuardedClient
from tests.deliveries.outbox import FAST, KEY, SIGNING, Outbox, running
from tests.support.receivers import Received, answering, receiver

NEW_KEY = MasterKey("another" * 8)


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient("127.0.0.0/8") as opened:
        yield opened


def fresh() -> str:
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def verifies(seen: Received, secret: str) -> bool:
    """Check as a receiver does that never heard of us."""
    try:
        Webhook(secret).verify(seen.body, dict(seen.headers))
    except WebhookVerificationError:
        return False
    return True


def plain_hmac(seen: Received, secret: str) -> bool:
    expected = hmac.new(secret.encode(), seen.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, seen.headers["runflow-signature"])


async def test_a_callback_is_signed_by_every_enabled_secret(outbox: Outbox, client: GuardedClient) -> None:
    org, other = await outbox.new_org(), await outbox.new_org()
    current, old, foreign, off = fresh(), fresh(), fresh(), fresh()
    made = await outbox.add_secret(org, old, current=False)
    current_id = await outbox.add_secret(org, current)
    off_id = await outbox.add_secret(org, off, current=False)
    await outbox.add_secret(other, foreign)
    async with outbox.db.system() as transaction:
        await transaction.run("UPDATE callback_secrets SET disabled_at = now() WHERE id = %(id)s", {"id": off_id})
    async with receiver(answering()) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        (row,) = await outbox.ended(await outbox.add(hook.url(), org_id=org))
        await outbox.ended(await outbox.add(hook.url(), org_id=other))
    ours, theirs = hook.requests
    assert [verifies(ours, secret) for secret in (current, old, foreign, off)] == [True, True, False, False]
    assert [plain_hmac(ours, secret) for secret in (current, old)] == [True, False]
    assert verifies(theirs, foreign) and not verifies(theirs, current)
    assert row.signing_secret_id == current_id
    async with outbox.db.system() as transaction:
        used = "SELECT id FROM callback_secrets WHERE org_id = %(org)s AND last_used_at IS NOT NULL"
        found = set(await transaction.values(used, {"org": org}, of=UUID))
    assert found == {made, current_id}


async def test_an_altered_body_or_time_is_noticed(outbox: Outbox, client: GuardedClient) -> None:
    org, secret = await outbox.new_org(), fresh()
    await outbox.add_secret(org, secret)
    async with receiver(answering()) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        await outbox.ended(await outbox.add(hook.url(), org_id=org))
    (seen,) = hook.requests
    later = {**seen.headers, "webhook-timestamp": str(int(seen.headers["webhook-timestamp"]) + 1)}
    assert verifies(seen, secret)
    assert not verifies(Received(seen.method, seen.path, seen.headers, seen.body + b" "), secret)
    assert not verifies(Received(seen.method, seen.path, later, seen.body), secret)


async def test_a_webhook_signs_with_its_own_secrets_only(outbox: Outbox, client: GuardedClient) -> None:
    org, own, before, of_callbacks = await outbox.new_org(), fresh(), fresh(), fresh()
    await outbox.add_secret(org, of_callbacks)
    async with receiver(answering()) as hook, running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
        webhook = await outbox.add_webhook(org, hook.url(), own, previous=before)
        await outbox.ended(await outbox.add(hook.url(), org_id=org, webhook_id=webhook))
        async with outbox.db.system() as transaction:
            over = "UPDATE webhooks SET previous_secret_until = now() WHERE id = %(id)s"
            await transaction.run(over, {"id": webhook})
        await outbox.ended(await outbox.add(hook.url(), org_id=org, webhook_id=webhook))
    during, after = hook.requests
    assert [verifies(during, secret) for secret in (own, before, of_callbacks)] == [True, True, False]
    assert [verifies(after, secret) for secret in (own, before)] == [True, False]
    assert plain_hmac(during, own) and plain_hmac(after, own)


async def test_a_new_master_key_opens_everything_and_the_old_one_nothing(outbox: Outbox, client: GuardedClient) -> None:
    org, of_callbacks, own, before = await outbox.new_org(), fresh(), fresh(), fresh()
    async with outbox.db.system() as transaction:
        await transaction.run("DELETE FROM callback_secrets")
        await transaction.run("DELETE FROM webhooks")
    await outbox.add_secret(org, of_callbacks)
    async with receiver(answering()) as hook:
        webhook = await outbox.add_webhook(org, hook.url(), own, previous=before)
        async with outbox.db.system() as transaction:
            assert await reseal_all(transaction, KEY, NEW_KEY) == 3
            assert await reseal_all(transaction, KEY, NEW_KEY) == 0, "an interrupted rotation can be repeated"
        async with running(DeliverySender(outbox, client, StoredSecrets(NEW_KEY), timing=FAST)):
            await outbox.ended(await outbox.add(hook.url(), org_id=org))
            await outbox.ended(await outbox.add(hook.url(), org_id=org, webhook_id=webhook))
        async with running(DeliverySender(outbox, client, SIGNING, timing=FAST)):
            (row,) = await outbox.ended(await outbox.add(hook.url(), org_id=org, max_attempts=1))
    callback, event = hook.requests
    assert verifies(callback, of_callbacks) and verifies(event, own) and verifies(event, before)
    assert row.status_code == "failed"
    async with outbox.db.system() as transaction:
        await transaction.run("DELETE FROM callback_secrets")
        await transaction.run("DELETE FROM webhooks")


def test_a_secret_is_bound_to_its_row() -> None:
    row, other = new_id(), new_id()
    sealed = seal(KEY, "whsec_AAAA", row)
    assert unseal(KEY, sealed, row) == "whsec_AAAA"
    assert KEY.decrypt(PURPOSE, sealed, str(row)) == b"whsec_AAAA"
    with pytest.raises(CannotDecrypt):
        unseal(KEY, sealed, other)
