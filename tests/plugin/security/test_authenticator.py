"""Judging credentials: remembered, checked once, throttled, forgotten on a change."""

import asyncio
import base64
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin.security.authenticator import Authenticator, HeaderCache
from plugin.security.login_throttle import FREE
from plugin.security.password_file import NAME, Account, Damaged, PasswordFile
from plugin.security.scrypt import Hash
from tests.plugin.security.conftest import ANN, PASSWORD, quick_hash


def header(password: str, username: str = "ann") -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


class Counted(Hash):
    """A hash that counts how often it is computed."""

    times = 0

    def matches(self, password: str) -> bool:
        type(self).times += 1
        return super().matches(password)


@pytest.fixture
def counted(switched_on: Authenticator) -> Authenticator:
    Counted.times = 0
    value = hashlib.scrypt(PASSWORD.encode(), salt=bytes(16), n=2, r=1, p=1, dklen=32)
    switched_on._account = Account("ann", Counted(2, 1, 1, bytes(16), value))
    return switched_on


async def test_off_lets_everybody_in(authenticator: Authenticator) -> None:
    assert (await authenticator.authenticate("", "192.0.2.1")).accepted


async def test_right_and_wrong(switched_on: Authenticator) -> None:
    assert (await switched_on.authenticate(header(PASSWORD), "192.0.2.1")).accepted
    for wrong in (header("wrong"), header(PASSWORD, "bob"), header(PASSWORD, "änn"), "", "Basic \udcff", header("")):
        assert not (await switched_on.authenticate(wrong, "192.0.2.1")).accepted


async def test_a_page_of_many_requests_costs_one_hash(counted: Authenticator) -> None:
    results = await asyncio.gather(*(counted.authenticate(header(PASSWORD), "192.0.2.1") for _ in range(300)))
    assert all(result.accepted for result in results)
    assert Counted.times == 1
    results = await asyncio.gather(*(counted.authenticate(header("stale"), "192.0.2.1") for _ in range(300)))
    assert not any(result.accepted or result.wait for result in results)
    assert Counted.times == 2


async def test_guesses_are_throttled_and_the_owner_is_not(counted: Authenticator) -> None:
    owner = header(PASSWORD)
    assert (await counted.authenticate(owner, "192.0.2.1")).accepted
    results = await asyncio.gather(*(counted.authenticate(header(f"guess {each}"), "192.0.2.1") for each in range(50)))
    assert sum(result.wait == 0 for result in results) == FREE
    assert Counted.times == 1 + FREE
    assert (await counted.authenticate(owner, "192.0.2.1")).accepted
    assert (await counted.verify_password(PASSWORD, "192.0.2.1")).wait > 0
    assert (await counted.authenticate(header("guess"), "192.0.2.2")).wait == 0
    await counted.authenticate("Bearer nonsense", "192.0.2.3")
    assert not counted.throttle._records.get("192.0.2.3")


async def test_only_so_many_hashes_wait(counted: Authenticator) -> None:
    results = await asyncio.gather(*(counted.authenticate(header(f"{each}"), f"192.0.2.{each}") for each in range(200)))
    assert sum(result.wait > 0 for result in results) == 200 - Counted.times
    assert Counted.times <= 20
    assert not counted._checks


async def test_a_change_is_seen_and_forgets_all(switched_on: Authenticator) -> None:
    owner = header(PASSWORD)
    assert (await switched_on.authenticate(owner, "192.0.2.1")).accepted
    token = switched_on.socket_token
    switched_on.file.write(Account("ann", quick_hash("another password")))
    switched_on.look()
    assert not switched_on.holds_socket_token(token)
    assert not switched_on.holds_socket_token("")
    assert not switched_on.holds_socket_token("\udcff")
    assert not (await switched_on.authenticate(owner, "192.0.2.1")).accepted
    assert (await switched_on.authenticate(header("another password"), "192.0.2.1")).accepted


async def test_a_password_that_changes_during_the_check_does_not_let_in(switched_on: Authenticator) -> None:
    checking = asyncio.ensure_future(switched_on.authenticate(header(PASSWORD), "192.0.2.1"))
    await asyncio.sleep(0)
    switched_on.file.write(Account("ann", quick_hash("another password")))
    switched_on.look()
    assert not (await checking).accepted
    assert not (await switched_on.authenticate(header(PASSWORD), "192.0.2.1")).accepted


async def test_a_caller_who_hangs_up_does_not_end_the_check_for_others(switched_on: Authenticator) -> None:
    first = asyncio.ensure_future(switched_on.authenticate(header(PASSWORD), "192.0.2.1"))
    second = asyncio.ensure_future(switched_on.authenticate(header(PASSWORD), "192.0.2.1"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).accepted


def test_the_file_is_looked_at_once_a_second(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    authenticator = Authenticator(PasswordFile(tmp_path / NAME), clock=lambda: now[0])
    authenticator.file.write(ANN)
    seen = [authenticator.account]
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: authenticator.file.path.write_text("{"),
        authenticator.file.remove,
    ]
    for change in changes:
        change()
        now[0] += 1.0
        seen.append(authenticator.account)
    assert seen[:2] == [None, ANN]
    assert isinstance(seen[2], Damaged)
    assert seen[3] is None
    assert str(authenticator.file.path) in caplog.text


async def test_no_password_is_in_the_log(switched_on: Authenticator, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await switched_on.authenticate(header("my other password"), "192.0.2.1")
        await switched_on.authenticate(header(PASSWORD), "192.0.2.1")
    assert "192.0.2.1" in caplog.text
    assert "my other" not in caplog.text
    assert PASSWORD not in caplog.text


def test_headers_are_remembered_as_digests_and_forgotten() -> None:
    known = HeaderCache(3)
    for header in ("a", "b", "\udcff", "c"):
        known.add(header)
    assert "a" not in known
    assert all(header in known for header in ("b", "\udcff", "c"))
    assert len(known) == 3
    assert "b" in known
    known.add("d")
    assert "b" in known  # used lately
    before = known.digest("b")
    known.forget()
    assert len(known) == 0
    assert known.digest("b") != before
