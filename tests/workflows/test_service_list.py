"""The list of workflows over HTTP."""

from typing import Any

import httpx
import pytest

from runflow.web.lists import pages as list_pages
from runflow.workflows import service
from tests.support.workflow_prompts import body, plugin_body

ROUTE = "/v1/comfyui-workflows"
DOCUMENTS = {"workflow_json", "graph", "environment", "models", "custom_nodes", "resources"}


async def make(client: httpx.AsyncClient, name: str, **fields: Any) -> dict[str, Any]:
    answer = await client.post(ROUTE, json=body(name, **fields))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def listed(client: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await client.get(ROUTE, params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def slugs(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    return [item["slug"] for item in (await listed(client, **parameters))["items"]]


async def test_newest_first_and_only_own(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await make(client, name)
    await make(other_client, "d", is_public=True)
    page = await listed(client)
    assert set(page) == {"items", "first", "next", "previous", "next_pq", "prev_pq"}
    assert [item["slug"] for item in page["items"]] == ["c", "b", "a"]


async def test_items_carry_documents_and_interface_only_where_named(client: httpx.AsyncClient) -> None:
    made = (await client.post(ROUTE, json=plugin_body())).json()
    (item,) = (await listed(client))["items"]
    assert item == {name: value for name, value in made.items() if name in item}
    assert not (DOCUMENTS | {"inputs", "outputs", "versions", "warnings"}) & set(item)
    assert {"id", "owner", "slug", "path", "name", "version", "gpu_explicit_models", "updated_at"} <= set(item)
    (item,) = (await listed(client, embed="inputs,outputs,gpu_explicit_models,versions"))["items"]
    assert (item["inputs"], item["outputs"]) == (made["inputs"], made["outputs"])
    assert [version["version"] for version in item["versions"]] == ["1"]
    (item,) = (await listed(client, fields="id,workflow_json,inputs"))["items"]
    assert item == {name: made[name] for name in ("id", "workflow_json", "inputs")}


async def test_embeds_go_to_their_own_workflow(client: httpx.AsyncClient) -> None:
    first = await make(client, "a", inputs=[{"name": "prompt", "display_name": "First"}])
    second = await make(client, "b", inputs=[{"name": "prompt", "display_name": "Second"}])
    await client.patch(f"{ROUTE}/{second['id']}", json={"models": {}})
    items = (await listed(client, embed="inputs,versions"))["items"]
    assert [item["inputs"][0]["display_name"] for item in items] == ["Second", "First"]
    assert [[version["version"] for version in item["versions"]] for item in items] == [["2", "1"], ["1"]]
    assert items[1]["inputs"] == first["inputs"]


async def test_pages_hold_every_row_once(client: httpx.AsyncClient) -> None:
    for number in range(7):
        await make(client, f"flow {number}", category_code="3d" if number % 2 else None)
    for order in ("created_at:desc", "slug:asc", "category_code:asc", "category_code:desc,name:desc", "updated_at"):
        seen: list[str] = []
        page = await listed(client, limit=2, sort_by=order)
        while True:
            seen += [item["id"] for item in page["items"]]
            if page["next"] is None:
                break
            page = await listed(client, limit=2, sort_by=order, pq=page["next"])
        assert len(seen) == len(set(seen)) == 7
        assert [item["id"] for item in (await listed(client, sort_by=order))["items"]] == seen
        back = await listed(client, limit=2, sort_by=order, pq=page["previous"])
        assert [item["id"] for item in back["items"]] == seen[4:6]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("slug.eq:'alpha'", ["alpha"]),
        ("slug:beta OR slug:alpha", ["beta", "alpha"]),
        ("name.ilike:'%ALPH%'", ["alpha"]),
        ("status_code:disabled", ["beta"]),
        ("is_public = true", ["gamma"]),
        ("category_code:3d AND NOT slug:beta", ["gamma"]),
        ("category_code.isnull:true", ["alpha"]),
        ("gpu_mode.eq:explicit", ["gamma"]),
        ("timeout_seconds > 10", ["beta"]),
        ("description.like:'%secret%'", ["alpha"]),
        ("created_at > 2020-01-01", ["gamma", "beta", "alpha"]),
        ("version:2", []),
        ("slug:'a\\'b'", []),
    ],
)
async def test_filters(client: httpx.AsyncClient, q: str, expected: list[str]) -> None:
    await make(client, "alpha", description="a secret")
    await make(client, "beta", status_code="disabled", category_code="3d", timeout_seconds=60)
    await make(client, "gamma", is_public=True, category_code="3d", gpu_mode="explicit", gpu_explicit_models=["L4"])
    assert await slugs(client, q=q) == expected


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"q": "workflow_json:x"}, 400, "INVALID_FILTER"),
        ({"q": "slug.eq:"}, 400, "INVALID_FILTER"),
        ({"q": "org_id:x"}, 400, "INVALID_FILTER"),
        ({"q": "category_code:nope"}, 400, "INVALID_FILTER"),
        ({"sort_by": "description"}, 400, "INVALID_SORT"),
        ({"pq": "nope"}, 400, "INVALID_CURSOR"),
        ({"fields": "password"}, 400, "INVALID_FIELD"),
        ({"embed": "runs"}, 400, "INVALID_FIELD"),
        ({"limit": 0}, 422, "VALIDATION_ERROR"),
        ({"limit": 501}, 422, "VALIDATION_ERROR"),
    ],
)
async def test_bad_parameters(client: httpx.AsyncClient, parameters: dict[str, Any], status: int, code: str) -> None:
    answer = await client.get(ROUTE, params=parameters)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_nul_in_a_filter_is_no_server_error(client: httpx.AsyncClient) -> None:
    for q in ("slug.eq:'a\u0000b'", "name.like:'\u0000%'"):
        assert (await client.get(ROUTE, params={"q": q})).status_code in (200, 400)


async def test_a_page_of_large_documents_ends_early_and_goes_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcdefg":
        made = await make(client, name, graph={"large": "x" * 1000})
    monkeypatch.setattr(list_pages, "MAX_PAGE_BYTES", 2500)
    pages = [await listed(client, fields="slug,graph")]
    while pages[-1]["next"]:
        pages.append(await listed(client, fields="slug,graph", pq=pages[-1]["next"]))
    assert [[item["slug"] for item in page["items"]] for page in pages] == [list("gfe"), list("dcb"), ["a"]]
    before = await listed(client, fields="slug,graph", pq=pages[1]["previous"])
    assert before["items"] == pages[0]["items"]
    assert len(await slugs(client)) == 7
    address = f"{ROUTE}/{made['id']}"
    for letter in "abcd":
        await client.patch(address, json={"graph": {"large": letter * 1000}})
    versions = (await client.get(f"{address}/versions", params={"fields": "version,graph"})).json()
    assert [item["version"] for item in versions["items"]] == ["5", "4", "3"] and versions["next"]


@pytest.mark.parametrize("parameters", [{"embed": "inputs"}, {"fields": "slug,inputs,outputs"}])
async def test_a_page_with_many_inputs_ends_early_and_goes_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, str]
) -> None:
    for name in "abcdefg":
        await make(client, name, inputs=[{"name": "prompt", "description": "x" * 10_000}])
    monkeypatch.setattr(list_pages, "MAX_PAGE_BYTES", 27_000)
    monkeypatch.setattr(service, "ROWS_WITHOUT_DOCUMENTS", 1)
    pages = [await listed(client, **parameters)]
    while pages[-1]["next"]:
        pages.append(await listed(client, **parameters, pq=pages[-1]["next"]))
    assert [[item["slug"] for item in page["items"]] for page in pages] == [list("gfe"), list("dcb"), ["a"]]
    assert all(len(item["inputs"]) == 1 for page in pages for item in page["items"])
    assert len(await slugs(client)) == 7


async def test_a_page_of_inputs_with_large_defaults_ends_early(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [
        await make(client, name, inputs=[{"name": "prompt", "default_value": "x" * 10_000}], is_public=True)
        for name in "abcd"
    ]
    everything = (await client.get(f"{ROUTE}/any/inputs")).json()["items"]
    monkeypatch.setattr(list_pages, "MAX_PAGE_BYTES", 25_000)
    page = (await client.get(f"{ROUTE}/any/inputs")).json()
    rest = (await client.get(f"{ROUTE}/any/inputs", params={"pq": page["next"]})).json()
    assert len(page["items"]) < len(everything) and page["items"] + rest["items"] == everything
    # Of another organization's public workflow as well.
    theirs = (await other_client.get(f"{ROUTE}/{made[0]['id']}/inputs")).json()
    assert [row["name"] for row in theirs["items"]] == [row["name"] for row in made[0]["inputs"]]
