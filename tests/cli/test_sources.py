"""`runflow sources` against the application."""

import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from runflow.web.services import Services
from tests.cli.conftest import Command, Said
from tests.support.application import MakeKey, operator_org
from tests.support.sources import COMMIT, deploy, fresh_origin, listed

Sources = Callable[..., Awaitable[Said]]


@pytest.fixture
async def sources(cli: Command, services: Services, make_key: MakeKey) -> Sources:
    """Run `runflow sources …` with a key of the operator's organization."""
    key = await make_key(org=await operator_org(services))

    async def run(*arguments: str) -> Said:
        return await cli("sources", *arguments, RUNFLOW_API_KEY=key)

    return run


async def state(operator: httpx.AsyncClient, origin: str) -> str:
    (source,) = await listed(operator, origin)
    return str(source["state_code"])


async def test_what_waits_is_listed_approved_and_revoked(
    sources: Sources, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin = fresh_origin()
    made = await deploy(client, origin)
    said = await sources("list", "--state", "waiting", "-q", f"origin:'{origin}'")
    head, row = said.out.splitlines()
    assert head.split()[:5] == ["id", "state", "name", "commit", "origin"], said.err
    short = row.split()[0]
    for told in ("waiting", "pack0", COMMIT[:12], origin, made["path"], ": test"):
        assert told in row
    approved = await sources("approve", short)
    assert (approved.code, approved.words) == (0, f"Approved pack0 at {COMMIT[:12]} from {origin}.")
    assert await state(operator, origin) == "approved"
    (found,) = json.loads((await sources("list", "--json", "--state", "approved", "-q", f"origin:'{origin}'")).out)
    assert found["id"].startswith(short)
    revoked = await sources("revoke", found["id"], "--json")
    assert json.loads(revoked.out)[0]["state_code"] == "revoked" == await state(operator, origin)


async def test_an_origin_is_named_with_its_commit_in_any_spelling(
    sources: Sources, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin, other = fresh_origin(), fresh_origin()
    await deploy(client, origin, other)
    assert (await sources("approve", f"{origin}.git/@{COMMIT.upper()}")).code == 0
    assert (await state(operator, origin), await state(operator, other)) == ("approved", "waiting")


async def test_where_one_is_unknown_none_is_approved(
    sources: Sources, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin, other = fresh_origin(), fresh_origin()
    await deploy(client, origin, other)
    known = f"{origin}@{COMMIT}"
    (one,), (two,) = await listed(operator, origin), await listed(operator, other)
    both = next(one["id"][:at] for at in range(36, 0, -1) if one["id"][:at] == two["id"][:at])
    for unknown, why in (
        (f"{origin}@{COMMIT[::-1]}", "no source"),
        (f"{fresh_origin()}@{COMMIT}", "RUNFLOW_APPROVED_SOURCES"),
        (f"https://me:secret@git.example/x@{COMMIT}", "no address"),
        (origin, "all 40 digits"),
        ("ffffffff", "no source"),
        (both, "more than one source"),
    ):
        said = await sources("approve", known, unknown)
        assert said.code == 2 and why in said.words and "Traceback" not in said.err, said.words
    assert await state(operator, origin) == "waiting"


async def test_all_that_wait_are_shown_before_they_are_approved(
    sources: Sources, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin, other = fresh_origin(), fresh_origin()
    await deploy(client, origin, other)
    asked = await sources("approve", "--all-waiting")
    assert asked.code == 2 and origin in asked.out and other in asked.out and "--yes" in asked.words
    assert await state(operator, origin) == "waiting"
    assert (await sources("approve", "--all-waiting", "--yes")).code == 0
    assert (await state(operator, origin), await state(operator, other)) == ("approved", "approved")
    assert "Nothing waits" in (await sources("approve", "--all-waiting")).words


async def test_a_wrong_call_says_what_is_right(sources: Sources) -> None:
    for words, said in (
        (("approve",), "--all-waiting"),
        (("approve", "--all-waiting", "abcd"), "--all-waiting"),
        (("revoke",), "sources list"),
        (("list", "--state", "new"), "waiting, approved, revoked"),
    ):
        found = await sources(*words)
        assert found.code == 2 and said in found.words


async def test_another_organization_s_key_is_refused(
    operator: httpx.AsyncClient, cli: Command, client: httpx.AsyncClient
) -> None:
    assert operator.headers != client.headers, "the first organization is the operator's"
    origin = fresh_origin()
    await deploy(client, origin)
    for words in (("list",), ("approve", f"{origin}@{COMMIT}"), ("approve", "--all-waiting", "--yes")):
        said = await cli("sources", *words)
        assert said.code != 0 and "PERMISSION_DENIED" in said.words and origin not in said.out
