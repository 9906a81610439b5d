"""What a process knows of approvals: as of a second ago at most, and of what it heard at once."""

import asyncio

import httpx
import pytest

from runflow.sources import known as module
from runflow.sources.known import ApprovedSources
from runflow.sources.tables import SourceState
from runflow.web.services import Services
from tests.support.able import MakeAble
from tests.support.sources import COMMIT, decide, deploy, fresh_origin


async def test_an_approval_is_of_a_commit_at_an_origin(
    services: Services, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    known = services.part(ApprovedSources)
    origin, fork = fresh_origin(), fresh_origin()
    await deploy(client, origin, fork)
    spellings = [origin, f"{origin}.git", f"{origin}/", f"HTTPS://GIT.example/{origin.rsplit('/', 1)[1]}"]
    wanted = [*((one, COMMIT) for one in spellings), (origin, COMMIT.upper()), (fork, COMMIT), (origin, COMMIT[::-1])]
    await known.look_for(wanted)
    assert not any(known.is_approved(*one) for one in wanted)
    await decide(operator, origin)
    assert not known.is_approved(origin, COMMIT), "what was known is forgotten at the hint"
    await known.look_for(wanted)
    assert [known.is_approved(*one) for one in wanted] == [True] * 5 + [False] * 2
    assert known.state(fork, COMMIT) is SourceState.WAITING
    assert known.state(origin, COMMIT[::-1]) is None


@pytest.mark.parametrize("forged", ["https://me@git.example/x", "https://git.example/../x", "", "x"])
async def test_what_is_no_origin_is_never_approved(services: Services, forged: str) -> None:
    known = services.part(ApprovedSources)
    await known.look_for([(forged, COMMIT)], now=True)
    assert not known.is_approved(forged, COMMIT)


async def test_a_revoked_source_is_approved_no_more(
    services: Services, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    known, origin = services.part(ApprovedSources), fresh_origin()
    await deploy(client, origin)
    await decide(operator, origin)
    await known.look_for([(origin, COMMIT)])
    assert known.is_approved(origin, COMMIT)
    await decide(operator, origin, "revoke")
    assert not known.is_approved(origin, COMMIT)
    await known.look_for([(origin, COMMIT)])
    assert known.state(origin, COMMIT) is SourceState.REVOKED


async def test_it_remembers_for_a_second_and_looks_when_told_to(
    services: Services, client: httpx.AsyncClient, operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(f"{module.__name__}.monotonic", lambda: clock[0])
    known, origin = ApprovedSources(services), fresh_origin()
    await deploy(client, origin)
    await known.look_for([(origin, COMMIT)])
    monkeypatch.setattr(known, "_forget", None)
    services.hub._handlers[module.TOPIC].pop()  # this process missed the hint
    await decide(operator, origin)
    await known.look_for([(origin, COMMIT)])
    assert not known.is_approved(origin, COMMIT)
    await known.look_for([(origin, COMMIT)], now=True)
    assert known.is_approved(origin, COMMIT)
    await decide(operator, origin, "revoke")
    await known.look_for([(origin, COMMIT)])
    assert known.is_approved(origin, COMMIT)
    clock[0] += 1.01
    await known.look_for([(origin, COMMIT)])
    assert not known.is_approved(origin, COMMIT)


async def test_what_it_remembers_is_bounded(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SOURCES", 10)
    known = ApprovedSources(services)
    for at in range(30):
        await known.look_for([(f"https://git.example/{at}/{one}", COMMIT) for one in range(5)])
    assert len(known._states) <= 15


async def test_an_approval_wakes_workers_that_wait(
    services: Services, client: httpx.AsyncClient, operator: httpx.AsyncClient, able: MakeAble
) -> None:
    origin = fresh_origin()
    await deploy(client, origin)
    woken = asyncio.Event()
    services.hub.on(module.WAKES, lambda _: woken.set())
    await decide(operator, origin)
    async with asyncio.timeout(30):
        await woken.wait()
