"""Categories over HTTP."""

import httpx

from runflow.workflows.categories import CATEGORIES

ROUTE = "/v1/comfyui-workflows/categories"


async def test_all_in_their_order(client: httpx.AsyncClient) -> None:
    page = (await client.get(ROUTE)).json()
    assert [item["code"] for item in page["items"]] == list(CATEGORIES)
    assert set(page["items"][0]) == {"code", "name", "description", "sort_order"}
    assert page["next"] is None


async def test_it_is_a_list_like_any_other(client: httpx.AsyncClient) -> None:
    items = (await client.get(ROUTE, params={"q": "code.like:'%-to-video'", "sort_by": "name:desc"})).json()["items"]
    assert [item["code"] for item in items] == ["text-to-video", "image-to-video"]
    first = (await client.get(ROUTE, params={"limit": 4, "fields": "code"})).json()
    rest = (await client.get(ROUTE, params={"limit": 8, "fields": "code", "pq": first["next"]})).json()
    assert [item["code"] for item in first["items"] + rest["items"]] == list(CATEGORIES)
    assert (await client.get(ROUTE, params={"q": "created_at > 2026-01-01"})).json()["code"] == "INVALID_FILTER"


async def test_one(client: httpx.AsyncClient) -> None:
    assert (await client.get(f"{ROUTE}/3d")).json()["name"] == "3D"
    assert (await client.get(f"{ROUTE}/3d?fields=code")).json() == {"code": "3d"}
    assert (await client.get(f"{ROUTE}/3d?fields=x")).status_code == 400
    for code in ("4d", "%00", "IMAGE-TO-IMAGE"):
        answer = await client.get(f"{ROUTE}/{code}")
        assert (answer.status_code, answer.json()["code"]) == (404, "CATEGORY_NOT_FOUND")
