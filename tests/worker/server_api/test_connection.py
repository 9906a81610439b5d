import uuid

import pytest

from runflow.protocol.completions import Completion
from runflow.protocol.workers import PROTOCOL_VERSION, Registration
from runflow.worker.server_api.connection import (
    Connection,
    LeaseLost,
    NotWelcome,
    ServerFailing,
    ServerRefused,
    ServerUnavailable,
    Unregistered,
)
from runflow.worker.server_api.retry import until_answered
from tests.support.fake_server import TOKEN, FakeServer

BOX = Registration(protocol_version=PROTOCOL_VERSION, instance=uuid.uuid4(), name="box", status="ready")


async def test_a_worker_registers_and_asks_for_a_lease(server: FakeServer, connection: Connection) -> None:
    answer = await connection.register(BOX)
    assert answer.lease_seconds == 20
    assert "worker_id" not in server.registrations[0]
    lease_id = server.offer()
    lease = await connection.lease(wait_seconds=1)
    assert lease is not None
    assert lease["id"] == lease_id
    assert await connection.lease(wait_seconds=0.01) is None


async def test_each_refusal_has_its_meaning(server: FakeServer, connection: Connection) -> None:
    for status in (401, 426):
        server.faults["registrations"].append(status)
        with pytest.raises(NotWelcome):
            await connection.register(BOX)
    for status in (500, 503, 429):
        server.faults["heartbeats"].append(status)
        with pytest.raises(ServerFailing):
            await connection.heartbeat("x", [])
    server.lost.add("x")
    with pytest.raises(LeaseLost):
        await connection.heartbeat("x", [])
    with pytest.raises(LeaseLost):
        await connection.complete("x", Completion(**connection.caller, result="succeeded"))
    server.known = False
    with pytest.raises(Unregistered):
        await connection.lease(wait_seconds=0)
    server.faults["uploads"].append(422)
    with pytest.raises(ServerRefused):
        await connection.request_uploads("y", [])


async def test_a_server_that_is_not_there_is_unavailable_and_no_secret_is_told(server: FakeServer) -> None:
    await server.stop()
    async with Connection(server.url, TOKEN, instance=uuid.uuid4()) as connection:
        with pytest.raises(ServerUnavailable) as trouble:
            await connection.register(BOX)
        assert TOKEN not in str(trouble.value)
        with pytest.raises(ServerUnavailable) as trouble:
            await connection.put(f"{server.url}/v1/storage/x?signature=SECRET", {}, b"x")
        assert "SECRET" not in str(trouble.value)
        with pytest.raises(ServerUnavailable):
            async with connection.get(f"{server.url}/v1/storage/x?signature=SECRET"):
                pass


async def test_what_lies_there_already_was_sent_before(server: FakeServer, connection: Connection) -> None:
    """A bucket's answer to a PUT that replaces nothing, after a try whose answer was lost."""
    server.faults["put"].extend((412, 412))
    await connection.put(f"{server.url}/v1/storage/x?signature=y", {"If-None-Match": "*"}, b"x")
    with pytest.raises(ServerRefused):
        await connection.put(f"{server.url}/v1/storage/x?signature=y", {}, b"x")


async def test_a_restarted_server_is_found_again(server: FakeServer, connection: Connection) -> None:
    await connection.register(BOX)
    await server.stop()
    tries = 0

    async def call() -> object:
        nonlocal tries
        tries += 1
        if tries == 3:
            await server.start()
        return await connection.heartbeat("x", [])

    assert await until_answered(call, what="heartbeat", seconds=60)
    assert tries >= 3


async def test_patience_has_an_end_and_a_shorter_one_for_errors(server: FakeServer, connection: Connection) -> None:
    server.faults["heartbeats"].extend([500] * 50)
    with pytest.raises(ServerFailing):
        await until_answered(lambda: connection.heartbeat("x", []), what="heartbeat", seconds=60, failing_seconds=0.1)
    await server.stop()
    with pytest.raises(ServerUnavailable):
        await until_answered(lambda: connection.heartbeat("x", []), what="heartbeat", seconds=0.1)


async def test_an_answer_that_is_no_json_says_what_to_check(server: FakeServer, connection: Connection) -> None:
    server.files["page"] = b"<html>"
    with pytest.raises(ServerRefused) as refusal:
        await connection._post("/nowhere", {})
    assert refusal.value.status == 404


async def test_a_proxy_that_the_environment_names_is_used(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    async with Connection("http://behind-the-proxy.example", TOKEN, instance=uuid.uuid4()) as connection:
        assert (await connection.register(BOX)).lease_seconds == 20
        server.faults["heartbeats"].append(503)
        with pytest.raises(ServerFailing):
            await connection.heartbeat("x", [])
