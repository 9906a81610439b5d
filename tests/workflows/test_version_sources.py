"""Deployments say what waits for approval, and approve it for whoever may: the operator, once, in the editor."""

from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import URL

from runflow.ids import new_id
from runflow.sources.known import ApprovedSources
from runflow.web.services import Services
from runflow.workflows.version_sources import read_earlier_versions
from tests.support.able import CLASSES, MakeAble
from tests.support.application import MakeKey, open_client, operator_org
from tests.support.deployed import PROMPT
from tests.support.sources import COMMIT, decide, deploy, fresh_origin, listed, manifest


def shown(*origins: str) -> list[dict[str, str]]:
    return [{"origin": origin, "commit": COMMIT} for origin in origins]


def about_approval(record: dict[str, Any]) -> list[str]:
    """What is said beside the sentence that no worker can run it yet."""
    told = [one["message"] for one in record["warnings"] if not one["message"].startswith("No connected worker")]
    return [text for text in told if "approv" in text or "revoked" in text]


async def stuck(able: MakeAble) -> dict[str, Any]:
    """Return the choice of a GPU class whose one worker lacks what the packs bring."""
    gpu = f"GPU-{new_id().hex[-8:]}"
    await able(CLASSES - {"Anything"}, gpu=gpu, builds="approved")
    return {"gpu_mode": "explicit", "gpu_explicit_models": [gpu]}


async def test_a_deployment_that_no_worker_can_run_says_what_waits(
    client: httpx.AsyncClient, operator: httpx.AsyncClient, able: MakeAble
) -> None:
    choice, origin, approved = await stuck(able), fresh_origin(), fresh_origin()
    await deploy(client, approved)
    await decide(operator, approved)
    made = await deploy(client, approved, origin, **choice)
    (said,) = about_approval(made)
    assert said == f"A runtime of its own waits for the operator's approval of pack1 at {COMMIT[:12]} ({origin})."
    (step,) = [one["next_step"] for one in made["warnings"] if one["message"] == said]
    assert f"`runflow sources approve {origin}@{COMMIT}`" in step
    path = f"/v1/comfyui-workflows/{made['id']}"
    waiting = {"kind_code": "node_pack", "name": "pack1", "origin": origin, "commit": COMMIT, "state_code": "waiting"}
    assert (await client.get(f"{path}/runtime")).json()["unapproved_sources"] == [waiting]
    await decide(operator, origin)
    assert (await client.get(f"{path}/runtime")).json()["unapproved_sources"] == []
    await decide(operator, origin, "revoke")
    back = (await client.post(f"{path}/rollbacks", json={"version": "1"})).json()
    assert about_approval(back) == [
        f"No runtime of its own is built: the operator has revoked pack1 at {COMMIT[:12]} ({origin})."
    ]


async def test_where_a_worker_has_it_all_nothing_is_said(client: httpx.AsyncClient, able: MakeAble) -> None:
    gpu = f"GPU-{new_id().hex[-8:]}"
    await able(gpu=gpu)
    made = await deploy(client, fresh_origin(), gpu_mode="explicit", gpu_explicit_models=[gpu])
    assert (made["can_run"], about_approval(made)) == (True, [])


async def test_many_are_named_up_to_a_bound(client: httpx.AsyncClient, able: MakeAble) -> None:
    made = await deploy(client, *(fresh_origin() for _ in range(25)), **await stuck(able))
    said = about_approval(made)
    assert (len(said), said[-1]) == (11, "15 more of its sources are not approved.")


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "once"}])
async def test_the_operator_approves_with_the_deployment(
    services: Services, operator: httpx.AsyncClient, able: MakeAble, headers: dict[str, str]
) -> None:
    choice, one, other = await stuck(able), fresh_origin(), fresh_origin()
    headers = {name: f"{value}-{new_id().hex}" for name, value in headers.items()}
    body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT, **manifest(one, other), **choice}
    answer = await operator.post(
        "/v1/comfyui-workflows", json=body | {"approve_sources": shown(f"{one}.git")}, headers=headers
    )
    assert answer.status_code == 201, answer.text
    assert len(about_approval(answer.json())) == 1 and other in about_approval(answer.json())[0]
    (source,) = await listed(operator, one)
    assert (source["state_code"], (await listed(operator, other))[0]["state_code"]) == ("approved", "waiting")
    assert source["decided_by"] == (await operator.get("/v1/auth/me")).json()["api_key"]["id"]
    events = (await operator.get("/v1/audit-events", params={"q": f"target_id:{source['id']}"})).json()["items"]
    assert [event["action_code"] for event in events] == ["source.approved"]
    known = services.part(ApprovedSources)
    await known.look_for([(one, COMMIT)])
    assert known.is_approved(one, COMMIT)
    # What was deployed before is approved by deploying it again, though that makes no version.
    again = {"custom_nodes": body["custom_nodes"], "approve_sources": shown(other)}
    changed = await operator.patch(f"/v1/comfyui-workflows/{answer.json()['id']}", json=again)
    assert (changed.status_code, changed.json()["version"], about_approval(changed.json())) == (200, "1", [])
    assert (await listed(operator, other))[0]["state_code"] == "approved"


@pytest.mark.parametrize("is_operator", [False, True])
async def test_who_may_not_approve_deploys_all_the_same(
    services: Services, make_key: MakeKey, operator: httpx.AsyncClient, is_operator: bool
) -> None:
    """Another organization's key may not whatever scopes it holds, the operator's not without the scope."""
    scopes = ("comfyui-workflows:create", "comfyui-workflows:read")
    org = await operator_org(services) if is_operator else None
    key = await make_key(scopes=scopes if is_operator else (*scopes, "sources:approve"), org=org)
    origin = fresh_origin()
    async with open_client(services, key) as caller:
        made = await deploy(caller, origin, approve_sources=shown(origin))
    (said,) = about_approval(made)
    assert said.startswith("approve_sources approved nothing")
    assert (await listed(operator, origin))[0]["state_code"] == "waiting"


@pytest.mark.parametrize(
    ("origin", "commit", "status"),
    [
        ("https://git.example/other", COMMIT, 422),
        ("{}", COMMIT[::-1], 422),
        ("{}", COMMIT[:12], 422),
        ("{}/..", COMMIT, 422),
        ("https://me@git.example/{}", COMMIT, 422),
        ("", COMMIT, 422),
        ("{}/", COMMIT.upper(), 201),
    ],
)
async def test_only_what_the_version_names_can_be_approved_with_it(
    operator: httpx.AsyncClient, origin: str, commit: str, status: int
) -> None:
    mine = fresh_origin()
    body = {"name": f"P {new_id().hex[-8:]}", "workflow_json": PROMPT, **manifest(mine)}
    sent = [{"origin": origin.format(mine), "commit": commit}]
    answer = await operator.post("/v1/comfyui-workflows", json=body | {"approve_sources": sent})
    assert answer.status_code == status, answer.text
    found = await listed(operator, mine)
    assert [one["state_code"] for one in found] == (["approved"] if status == 201 else []), "all of it, or nothing"
    if status == 422:
        assert answer.json()["errors"][0]["loc"][:3] == ["body", "approve_sources", 0]


async def test_what_was_revoked_is_not_approved_in_passing(operator: httpx.AsyncClient) -> None:
    origin = fresh_origin()
    await deploy(operator, origin)
    await decide(operator, origin, "revoke")
    await deploy(operator, origin, approve_sources=shown(origin))
    assert (await listed(operator, origin))[0]["state_code"] == "revoked"


async def test_no_more_is_taken_than_a_version_can_name(operator: httpx.AsyncClient) -> None:
    origin = fresh_origin()
    body = {"name": "P", "workflow_json": PROMPT, **manifest(origin), "approve_sources": shown(*[origin] * 202)}
    assert (await operator.post("/v1/comfyui-workflows", json=body)).status_code == 422


async def test_versions_from_before_are_read(
    services: Services, db_url: URL, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin, other = fresh_origin(), fresh_origin()
    made = [await deploy(client, one) for one in (origin, other)]
    me = (await client.get("/v1/auth/me")).json()["organization"]["id"]
    versions = [
        (await client.get(f"/v1/comfyui-workflows/{one['id']}/versions")).json()["items"][0]["id"] for one in made
    ]
    async with services.db.system() as transaction:
        await transaction.run("DELETE FROM version_sources WHERE version_id = ANY(%(ids)s::uuid[])", {"ids": versions})
        await transaction.run("DELETE FROM sources WHERE origin = %(origin)s", {"origin": origin})
    assert await listed(operator, origin) == await listed(operator, other) == []
    put_back(db_url, me, versions)
    await read_earlier_versions(services)
    for one in (origin, other):
        (source,) = await listed(operator, one)
        assert (source["workflows_count"], source["state_code"]) == (1, "waiting")
    put_back(db_url, me, versions)
    await read_earlier_versions(services)  # again, it changes nothing
    assert (await listed(operator, origin))[0]["workflows_count"] == 1


def put_back(db_url: URL, org: str, versions: list[str]) -> None:
    """Put versions onto the list of what was not read, as the migration does; no role of the server's may."""
    with psycopg.connect(db_url.set(drivername="postgresql").render_as_string(hide_password=False)) as owner:
        for one in versions:
            owner.execute("INSERT INTO unread_versions (version_id, org_id) VALUES (%s, %s)", [one, org])
