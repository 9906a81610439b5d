import asyncio
from typing import Any

import httpx
import pytest

from runflow.assets.folders.service import MAX_DEPTH
from runflow.ids import new_id
from tests.support.uploading import picture, upload

FOLDERS = "/v1/asset-folders"


async def make(client: httpx.AsyncClient, name: str, parent: str | None = None) -> str:
    answer = await client.post(FOLDERS, json={"name": name, "parent_id": parent})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


async def test_a_tree_of_folders(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    top = await make(client, "  Customers ")
    below = await make(client, "Acme", top)
    record = (await client.get(f"{FOLDERS}/{below}")).json()
    assert set(record) == {"id", "org_id", "parent_id", "name", "created_by", "created_at", "updated_at"}
    assert (record["name"], record["parent_id"]) == ("Acme", top)
    assert (await client.get(f"{FOLDERS}/{top}", params={"fields": "name"})).json() == {"name": "Customers"}
    listed = (await client.get(FOLDERS, params={"sort_by": "name:asc"})).json()["items"]
    assert [item["name"] for item in listed] == ["Acme", "Customers"]
    at_the_top = (await client.get(FOLDERS, params={"q": "parent_id.isnull:true"})).json()["items"]
    assert [item["id"] for item in at_the_top] == [top]
    assert (await other_client.get(FOLDERS)).json()["items"] == []
    for request in (
        other_client.get(f"{FOLDERS}/{top}"),
        other_client.patch(f"{FOLDERS}/{top}", json={"name": "x"}),
        other_client.delete(f"{FOLDERS}/{top}", params={"recursive": True}),
        client.get(f"{FOLDERS}/{new_id()}"),
    ):
        assert_problem(await request, 404, "ASSET_FOLDER_NOT_FOUND")
    assert_problem(await other_client.post(FOLDERS, json={"name": "x", "parent_id": top}), 422, "VALIDATION_ERROR")


async def test_names_are_unique_beside_each_other(client: httpx.AsyncClient) -> None:
    top, other = await make(client, "A"), await make(client, "B")
    await make(client, "A", top)
    for body in ({"name": "A"}, {"name": "A", "parent_id": top}):
        assert "'A'" in assert_problem(await client.post(FOLDERS, json=body), 409, "CONFLICT")["message"]
    assert_problem(await client.patch(f"{FOLDERS}/{other}", json={"name": "A"}), 409, "CONFLICT")
    assert_problem(await client.patch(f"{FOLDERS}/{top}", json={"parent_id": top}), 422, "VALIDATION_ERROR")
    answers = await asyncio.gather(*(client.post(FOLDERS, json={"name": "Same"}) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a/b", "a\\b", "a\x00b", "a\nb", "x" * 256, None, 5])
async def test_bad_names(client: httpx.AsyncClient, name: object) -> None:
    assert_problem(await client.post(FOLDERS, json={"name": name}), 422, "VALIDATION_ERROR")


async def test_a_folder_is_renamed_and_moved(client: httpx.AsyncClient) -> None:
    a, b = await make(client, "A"), await make(client, "B")
    moved = await client.patch(f"{FOLDERS}/{b}", json={"parent_id": a, "name": "C"})
    assert (moved.status_code, moved.json()["parent_id"], moved.json()["name"]) == (200, a, "C")
    assert (await client.patch(f"{FOLDERS}/{b}", json={})).json()["name"] == "C"
    assert (await client.patch(f"{FOLDERS}/{b}", json={"parent_id": None})).json()["parent_id"] is None


async def test_no_folder_lies_in_itself(client: httpx.AsyncClient) -> None:
    a = await make(client, "A")
    b = await make(client, "B", a)
    c = await make(client, "C", b)
    for parent in (a, b, c):
        problem = assert_problem(
            await client.patch(f"{FOLDERS}/{a}", json={"parent_id": parent}), 422, "VALIDATION_ERROR"
        )
        assert problem["errors"][0]["loc"] == ["body", "parent_id"]
    x, y = await make(client, "X"), await make(client, "Y")
    answers = await asyncio.gather(
        client.patch(f"{FOLDERS}/{x}", json={"parent_id": y}), client.patch(f"{FOLDERS}/{y}", json={"parent_id": x})
    )
    assert sorted(answer.status_code for answer in answers) == [200, 422]


async def test_folders_do_not_lie_endlessly_deep(client: httpx.AsyncClient) -> None:
    parent = None
    for level in range(MAX_DEPTH):
        parent = await make(client, f"level {level}", parent)
    assert_problem(await client.post(FOLDERS, json={"name": "x", "parent_id": parent}), 422, "VALIDATION_ERROR")


async def test_only_an_empty_folder_goes_without_a_word(client: httpx.AsyncClient) -> None:
    top = await make(client, "Top")
    below = await make(client, "Below", top)
    asset = await upload(client, picture())
    await client.patch(f"/v1/assets/{asset['id']}", json={"folder_id": below})
    problem = assert_problem(await client.delete(f"{FOLDERS}/{top}"), 409, "CONFLICT")
    assert "1 asset and 1 folder are in it" in problem["message"]
    assert (await client.get(f"/v1/assets/{asset['id']}")).json()["folder_id"] == below
    assert (await client.delete(f"{FOLDERS}/{top}", params={"recursive": "true"})).status_code == 204
    assert (await client.get(FOLDERS)).json()["items"] == []
    assert (await client.get(f"/v1/assets/{asset['id']}")).status_code == 404
    empty = await make(client, "Empty")
    assert (await client.delete(f"{FOLDERS}/{empty}")).status_code == 204
    assert_problem(await client.delete(f"{FOLDERS}/{empty}"), 404, "ASSET_FOLDER_NOT_FOUND")


async def test_a_folder_whose_assets_were_deleted_is_empty(client: httpx.AsyncClient) -> None:
    place, asset = await make(client, "Place"), await upload(client, picture())
    await client.patch(f"/v1/assets/{asset['id']}", json={"folder_id": place})
    await client.delete(f"/v1/assets/{asset['id']}")
    assert (await client.delete(f"{FOLDERS}/{place}")).status_code == 204


async def test_deleting_while_others_move_things_in_loses_nothing(client: httpx.AsyncClient) -> None:
    for _ in range(5):
        place, asset = await make(client, "Place"), await upload(client, b"x", "text/plain", "x.txt")
        deleted, moved, made = await asyncio.gather(
            client.delete(f"{FOLDERS}/{place}"),
            client.patch(f"/v1/assets/{asset['id']}", json={"folder_id": place}),
            client.post(FOLDERS, json={"name": "Inner", "parent_id": place}),
        )
        assert (
            deleted.status_code in (204, 409)
            and moved.status_code in (200, 422)
            and made.status_code in (201, 409, 422)
        )
        assert (await client.get(f"/v1/assets/{asset['id']}")).status_code == 200
        if deleted.status_code == 204:
            assert made.status_code != 201
        await client.delete(f"{FOLDERS}/{place}", params={"recursive": "true"})


async def test_a_field_that_there_is_not_is_refused(client: httpx.AsyncClient) -> None:
    folder = (await client.post("/v1/asset-folders", json={"name": "real"})).json()["id"]
    for method, path, body in (
        ("POST", "/v1/asset-folders", {"name": "a", "parent": folder}),
        ("PATCH", f"/v1/asset-folders/{folder}", {"parent": None}),
        ("PATCH", f"/v1/assets/{folder}", {"mime_type": "image/png"}),
    ):
        answer = await client.request(method, path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (422, "extra_forbidden"), path
