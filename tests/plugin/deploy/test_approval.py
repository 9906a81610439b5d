"""Which code a person is asked to approve, against a server of aiohttp and the real one."""

from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from plugin.deploy.approval import approvable, named
from plugin.deploy.platform import Platform
from plugin.deploy.target import Target
from runflow.protocol.origins import canonical
from runflow.sources.named import named_sources
from tests.support.sources import COMMIT, decide, deploy, fresh_origin

A, B = "a" * 40, "b" * 40


def body(**packs: Any) -> dict[str, Any]:
    comfyui = {"origin": "https://git.example/ComfyUI", "commit": None, "version": "0.30.0"}
    return {"environment": {"comfyui": comfyui}, "custom_nodes": packs}


def of(*rows: dict[str, str]) -> list[tuple[str, str]]:
    return [(row["origin"], row["commit"]) for row in rows]


async def asked(base: str, key: str, sent: dict[str, Any]) -> list[dict[str, str]]:
    async with Platform(Target(base, base, key)) as platform:
        return await approvable(platform, sent)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "https://me@git.example/x",
        "https://git.example/x?y",
        "https://git.example/x/../y",
        "https://git.example/%2e%2e/y",
        "https://git.ex\u0430mple/x",
        "ssh://me@git.example/x",
        "git://git.example/x",
        "file:///srv/x",
        "https://git.example",
    ],
)
def test_what_a_server_might_read_otherwise_is_not_asked_for(origin: str | None) -> None:
    assert named(body(pack={"origin": origin, "commit": A})) == []


@pytest.mark.parametrize("commit", [None, "main", A[:12], A.upper()])
def test_what_has_no_full_commit_is_not_asked_for(commit: str | None) -> None:
    assert named(body(pack={"origin": "https://git.example/x", "commit": commit})) == []


def test_all_that_is_asked_for_is_what_the_server_finds_in_it() -> None:
    origins = ["https://git.example/x.git", "HTTPS://GIT.example/Y/", "ssh://git@git.example/me/z", "http://h:81/a~b+c"]
    packs = {f"p{at}": {"origin": one, "commit": f"{at:040x}"} for at, one in enumerate(origins)}
    sent = body(**packs, **{"ComfyUI-Runflow": {"plugin": True, "origin": "https://git.example/r", "commit": A}})
    sent["environment"]["comfyui"]["commit"] = B
    known = {one.key for one in named_sources(sent["environment"], sent["custom_nodes"])}
    found = named(sent)
    assert {(canonical(one["origin"]), one["commit"]) for one in found} == known
    assert [one["name"] for one in found] == ["ComfyUI", "p0", "p1", "p2", "p3"]


async def test_the_operator_is_asked_for_what_waits_and_nothing_else(
    own_address: str, operator: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    new, waits, approved, revoked = (fresh_origin() for _ in range(4))
    await deploy(client, waits, approved, revoked)
    await decide(operator, approved)
    await decide(operator, revoked, "revoke")
    origins = (new, waits, approved, revoked)
    packs = {f"p{at}": {"origin": f"{one}.git", "commit": COMMIT} for at, one in enumerate(origins)}
    keys = [one.headers["Authorization"].removeprefix("Bearer ") for one in (operator, client)]
    assert of(*await asked(own_address, keys[0], body(**packs))) == [(f"{new}.git", COMMIT), (f"{waits}.git", COMMIT)]
    # Another organization's key is asked for nothing, whatever scopes it holds; nor is one that is none.
    for key in (keys[1], "rf_live_" + "x" * 40):
        assert await asked(own_address, key, body(**packs)) == []


@pytest.mark.parametrize(
    ("me", "expected"),
    [
        ({"api_key": {"scopes": ["comfyui-workflows:create"]}}, []),
        ({"api_key": {"scopes": ["sources:approve"]}}, [("https://git.example/x", A)]),
        ({"api_key": {"scopes": ["sources:approve", "sources:read"]}}, []),
        ({"api_key": None}, []),
        ({}, []),
    ],
)
async def test_a_key_that_may_not_and_a_server_that_knows_of_none_ask_nothing(me: Any, expected: Any) -> None:
    """One that says it may but has no list of sources is not ours: it is not asked to approve."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/v1/auth/me":
            return web.json_response(me)
        return web.json_response({"code": "NOT_FOUND", "message": "No.", "errors": []}, status=404)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        found = await asked(base, "rf_live_x", body(pack={"origin": "https://git.example/x", "commit": A}))
    assert of(*found) == expected
