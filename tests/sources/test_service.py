"""What versions name is listed for the operator, who decides; nobody else reads, decides, or learns of it."""

from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org, open_client, operator_org
from tests.support.deployed import PROMPT
from tests.support.sources import COMMIT, decide, deploy, fresh_origin, listed, manifest


async def test_a_deployment_s_packs_wait_and_say_who_needs_them(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin = fresh_origin()
    made = await deploy(client, f"HTTPS://{origin.removeprefix('https://')}.git/")
    (source,) = await listed(operator, origin)
    assert (source["origin"], source["commit"], source["state_code"]) == (origin, COMMIT, "waiting")
    assert (source["kind_code"], source["names"], source["packages_count"]) == ("node_pack", ["pack0"], 2)
    assert (source["decided_at"], source["decided_by"], source["workflows_count"]) == (None, None, 1)
    (needs,) = source["workflows"]
    me = (await client.get("/v1/auth/me")).json()
    assert needs == {"id": made["id"], "name": made["name"], "path": made["path"], "organization": "Test"}
    assert source["deployed_by"] == {
        "organization": me["organization"]["slug"],
        "key_id": me["api_key"]["id"],
        "key_name": "test",
        "email": None,
        "at": source["deployed_by"]["at"],
    }


async def test_comfyui_counts_and_several_names_of_one_source_are_one(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin, pack = fresh_origin(), fresh_origin()
    environment = {"comfyui": {"origin": origin, "commit": COMMIT}}
    rows = {name: {"url": pack, "commit": COMMIT} for name in ("b", "a")}
    await deploy(client, environment=environment, custom_nodes=rows)
    (core,), (both,) = await listed(operator, origin), await listed(operator, pack)
    assert (core["kind_code"], core["names"], core["packages_count"]) == ("comfyui", ["ComfyUI"], 0)
    assert (both["kind_code"], both["names"], both["workflows_count"]) == ("node_pack", ["a", "b"], 1)


async def test_the_operator_decides_once_and_can_take_it_back(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin = fresh_origin()
    await deploy(client, origin)
    approved = await decide(operator, origin)
    me = (await operator.get("/v1/auth/me")).json()["api_key"]["id"]
    assert (approved["state_code"], approved["decided_by"]) == ("approved", me)
    assert await decide(operator, origin) == approved, "again changes nothing"
    await deploy(client, origin)
    (still,) = await listed(operator, origin)
    assert (still["state_code"], still["workflows_count"]) == ("approved", 2)
    revoked = await decide(operator, origin, "revoke")
    assert (revoked["state_code"], revoked["decided_at"] > approved["decided_at"]) == ("revoked", True)
    await deploy(client, origin)
    assert (await listed(operator, origin))[0]["state_code"] == "revoked", "it does not begin to wait again"
    events = (await operator.get("/v1/audit-events", params={"q": f"target_id:{approved['id']}"})).json()["items"]
    assert [event["action_code"] for event in events] == ["source.revoked", "source.approved"]
    assert events[0]["details"] == {"origin": origin, "commit": COMMIT}


async def test_the_same_commit_elsewhere_is_not_approved_with_it(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    parent, fork = fresh_origin(), fresh_origin()
    await deploy(client, parent, fork)
    await decide(operator, parent)
    assert (await listed(operator, fork))[0]["state_code"] == "waiting"
    other = COMMIT[::-1]
    await deploy(client, custom_nodes={"pack": {"origin": parent, "commit": other}})
    found = {one["commit"]: one["state_code"] for one in await listed(operator, parent)}
    assert found == {COMMIT: "approved", other: "waiting"}


@pytest.mark.parametrize(
    "forged",
    [
        "https://me:secret@git.example/{}",
        "https://git.example/x/../{}",
        "https://git.example/x/%2e%2e/{}",
        "https://git.ex\u0430mple/{}",
        "https://git.example/{}?x",
        "git@git.example:{}",
        "/srv/{}",
        "ext::sh -c {}",
    ],
)
async def test_an_origin_that_can_be_read_in_two_ways_is_never_listed(
    client: httpx.AsyncClient, operator: httpx.AsyncClient, forged: str
) -> None:
    word = new_id().hex
    await deploy(client, forged.format(word))
    found = (await operator.get("/v1/sources", params={"q": f"origin.like:'%{word}%'"})).json()["items"]
    assert found == []


async def test_what_nothing_needs_any_more_does_not_wait(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    first, second = fresh_origin(), fresh_origin()
    made = await deploy(client, first)
    path = f"/v1/comfyui-workflows/{made['id']}"
    assert (await client.patch(path, json={"custom_nodes": manifest(second)["custom_nodes"]})).status_code == 200
    assert (len(await listed(operator, first)), len(await listed(operator, second))) == (0, 1)
    assert (await client.post(f"{path}/rollbacks", json={"version": "1"})).status_code == 201
    assert (len(await listed(operator, first)), len(await listed(operator, second))) == (1, 0)
    await client.delete(path)
    assert await listed(operator, first) == []
    assert (await client.post(f"{path}/restorations", json={})).status_code < 300
    (source,) = await listed(operator, first)
    assert source["workflows_count"] == 1


async def test_runs_of_an_earlier_version_keep_its_sources_listed(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    first, second = fresh_origin(), fresh_origin()
    made = await deploy(client, first, gpu_mode="explicit", gpu_explicit_models=[f"GPU-{new_id().hex[-8:]}"])
    run = await client.post(f"/v1/comfyui-workflows/{made['path']}/runs", json={"input": {"prompt": "x"}})
    assert run.status_code == 201, run.text
    body = {"custom_nodes": manifest(second)["custom_nodes"]}
    await client.patch(f"/v1/comfyui-workflows/{made['id']}", json=body)
    (source,) = await listed(operator, first)
    assert source["workflows"] == []
    await client.post(f"/v1/runs/{run.json()['id']}/cancellation", json={})
    assert await listed(operator, first) == []


async def test_a_change_that_names_no_packs_keeps_the_version_s(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin = fresh_origin()
    made = await deploy(client, origin)
    prompt = PROMPT | {"20": {"class_type": "Anything", "inputs": {}}}
    answer = await client.patch(f"/v1/comfyui-workflows/{made['id']}", json={"workflow_json": prompt})
    assert answer.json()["version"] == "2"
    assert (await listed(operator, origin))[0]["workflows_count"] == 1


async def test_another_organization_reads_and_decides_nothing(
    services: Services, make_key: MakeKey, operator: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    origin = fresh_origin()
    await deploy(client, origin)
    (source,) = await listed(operator, origin)
    # Even a key that holds every scope: nothing hands such a key to them.
    async with open_client(services, await make_key(org=await new_org(services))) as stranger:
        for answer in (
            await stranger.get("/v1/sources"),
            await stranger.post(f"/v1/sources/{source['id']}/approve"),
            await stranger.post(f"/v1/sources/{source['id']}/revoke"),
            await client.post(f"/v1/sources/{source['id']}/approve"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")
            assert origin not in answer.text
        mine = await deploy(stranger, origin)
        seen = await stranger.get(f"/v1/comfyui-workflows/{mine['id']}", params={"embed": "versions"})
        assert str(source["id"]) not in f"{mine} {seen.text}"
    assert (await listed(operator, origin))[0]["state_code"] == "waiting"


async def test_the_operator_s_keys_need_the_scope(
    services: Services, make_key: MakeKey, client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin = fresh_origin()
    await deploy(client, origin)
    (source,) = await listed(operator, origin)
    key = await make_key(scopes=("sources:read", "workers:edit"), org=await operator_org(services))
    async with open_client(services, key) as reader:
        assert len(await listed(reader, origin)) == 1
        assert (await reader.post(f"/v1/sources/{source['id']}/approve")).status_code == 403


async def test_an_unknown_source_is_not_found(operator: httpx.AsyncClient) -> None:
    for verb in ("approve", "revoke"):
        answer = await operator.post(f"/v1/sources/{new_id()}/{verb}")
        assert (answer.status_code, answer.json()["code"]) == (404, "SOURCE_NOT_FOUND")


async def test_names_and_workflows_are_told_up_to_a_bound(
    client: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    origin = fresh_origin()
    rows: dict[str, Any] = {f"n{at:02}": {"origin": origin, "commit": COMMIT} for at in range(30)}
    for _ in range(22):
        await deploy(client, custom_nodes=rows)
    (source,) = await listed(operator, origin)
    assert (len(source["names"]), source["names"][0], len(source["workflows"])) == (20, "n00", 20)
    assert source["workflows_count"] == 22
