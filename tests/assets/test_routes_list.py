"""The list of assets, changes and deletions of them, and the types."""

from typing import Any

import httpx
import pytest

from runflow.ids import new_id
from runflow.web.services import Services
from tests.support.uploading import confirm, open_session, picture, send, unsigned, upload


async def names(client: httpx.AsyncClient, **params: Any) -> list[str]:
    answer = await client.get("/v1/assets", params=params)
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["items"]]


async def folder(client: httpx.AsyncClient, name: str = "Portraits") -> str:
    answer = await client.post("/v1/asset-folders", json={"name": name})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def three(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    return [
        await upload(client, picture(), filename="a.png"),
        await upload(client, b"hello", "text/plain", "b.txt"),
        await upload(client, b"RIFF....WAVE", "audio/wav", "c.wav"),
    ]


async def test_the_newest_first_and_only_ones_own(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    assets = await three(client)
    assert await names(client) == ["c.wav", "b.txt", "a.png"]
    assert await names(other_client) == []
    item = (await client.get("/v1/assets", params={"limit": 1})).json()["items"][0]
    assert unsigned(item) == unsigned(assets[2])
    assert (await client.get(item["url"])).content == b"RIFF....WAVE"


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("asset_type:image", ["a.png"]),
        ("asset_type.in:(text,audio)", ["c.wav", "b.txt"]),
        ("mime_type:'text/plain'", ["b.txt"]),
        ("name.like:'%.wav'", ["c.wav"]),
        ("name.ilike:'A%'", ["a.png"]),
        ("size_bytes <= 5", ["b.txt"]),
        ("folder_id.isnull:true", ["c.wav", "b.txt", "a.png"]),
        ("source_type:data_uri", []),
        ("created_at < 2020-01-01", []),
    ],
)
async def test_filters(client: httpx.AsyncClient, q: str, found: list[str]) -> None:
    await three(client)
    assert await names(client, q=q) == found


async def test_order_pages_and_fields(client: httpx.AsyncClient) -> None:
    await three(client)
    assert await names(client, sort_by="name:asc") == ["a.png", "b.txt", "c.wav"]
    assert await names(client, sort_by="size_bytes:asc,name:desc") == ["b.txt", "c.wav", "a.png"]
    first = (await client.get("/v1/assets", params={"limit": 2, "fields": "name"})).json()
    assert first["items"] == [{"name": "c.wav"}, {"name": "b.txt"}]
    rest = (await client.get("/v1/assets", params={"limit": 2, "fields": "name", "pq": first["next"]})).json()
    assert rest["items"] == [{"name": "a.png"}] and rest["next"] is None
    assert (await client.get("/v1/assets", params={"fields": "object_key"})).json()["code"] == "INVALID_FIELD"
    assert (await client.get("/v1/assets", params={"q": "asset_type:picture"})).json()["code"] == "INVALID_FILTER"


async def test_an_asset_is_renamed_and_moved(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    asset, place = await upload(client, picture()), await folder(client)
    url = f"/v1/assets/{asset['id']}"
    moved = await client.patch(url, json={"folder_id": place})
    assert moved.status_code == 200
    assert (moved.json()["folder_id"], moved.json()["name"]) == (place, "photo.png")
    assert await names(client, q=f"folder_id:{place}") == ["photo.png"]
    renamed = (await client.patch(url, json={"name": "../me.png"})).json()
    assert (renamed["folder_id"], renamed["name"]) == (place, "me.png")
    assert 'filename="me.png"' in (await client.get(renamed["url"])).headers["Content-Disposition"]
    assert renamed["updated_at"] > asset["updated_at"]
    assert (await client.patch(url, json={})).json()["name"] == "me.png"
    assert (await client.patch(url, json={"name": None})).json()["name"] == "me.png"
    assert (await client.patch(url, json={"folder_id": None})).json()["folder_id"] is None
    for change in ({"name": ""}, {"name": "a\nb"}, {"folder_id": "x"}, {"name": "x" * 501}):
        assert (await client.patch(url, json=change)).status_code == 422, change
    foreign = await folder(other_client)
    refused = await client.patch(url, json={"folder_id": foreign})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["body", "folder_id"]
    answer = await other_client.patch(url, json={"name": "mine.png"})
    assert (answer.status_code, answer.json()["code"]) == (404, "ASSET_NOT_FOUND")
    assert (await client.get(url)).json()["name"] == "me.png"


async def test_an_upload_is_confirmed_into_a_folder(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    place, foreign = await folder(client), await folder(other_client)
    session = await open_session(client, picture())
    await send(session["upload_url"], picture(), "image/png", client)
    refused = await confirm(client, session["asset_id"], {"folder_id": foreign})
    assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["body", "folder_id"])
    done = await confirm(client, session["asset_id"], {"folder_id": place})
    assert (done.status_code, done.json()["folder_id"]) == (201, place)
    again = await confirm(client, session["asset_id"], {"folder_id": None})
    assert (again.status_code, again.json()["folder_id"]) == (201, place)


async def test_a_deleted_asset_is_gone_for_everyone(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient, services: Services
) -> None:
    asset = await upload(client, picture())
    url = f"/v1/assets/{asset['id']}"
    assert (await other_client.delete(url)).status_code == 404
    for _ in range(2):
        answer = await client.delete(url)
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(url)).status_code == 404
    assert (await client.patch(url, json={"name": "x.png"})).status_code == 404
    assert (await confirm(client, asset["id"])).status_code == 404
    assert await names(client) == []
    async with services.db.system() as transaction:
        query = "SELECT action_code FROM audit_events WHERE target_id = %(id)s"
        actions = await transaction.values(query, {"id": asset["id"]}, of=str)
    assert actions == ["asset.deleted"]


async def test_the_types(client: httpx.AsyncClient, services: Services) -> None:
    answer = (await client.get("/v1/assets/types")).json()
    assert answer["max_upload_bytes"] == services.settings.max_upload_bytes
    assert {"mime_type": "image/jpeg", "asset_type": "image", "extensions": [".jpg", ".jpeg"]} in answer["items"]
    assert {item["asset_type"] for item in answer["items"]} == {
        "image", "video", "audio", "3d", "text", "archive", "other"
    }  # fmt: skip


async def test_who_uploaded_it(client: httpx.AsyncClient, services: Services) -> None:
    asset = await upload(client, picture())
    url, embed = f"/v1/assets/{asset['id']}", {"embed": "created_by_user"}
    assert asset["created_by"] is not None
    assert (await client.get(url, params=embed)).json()["created_by_user"] is None, "a key of nobody in particular"
    values = {"key": asset["created_by"], "org": asset["org_id"], "user": new_id(), "member": new_id()}
    values["email"] = f"{values['user']}@example.com"
    async with services.db.system() as transaction:
        for statement in (
            "INSERT INTO users (id, email) VALUES (%(user)s, %(email)s)",
            "INSERT INTO members (id, org_id, user_id, role_code, first_name) "
            "VALUES (%(member)s, %(org)s, %(user)s, 'owner', 'Ada')",
            "UPDATE api_keys SET user_id = %(user)s WHERE id = %(key)s",
        ):
            await transaction.run(statement, values)
    expected = {
        "id": str(values["user"]),
        "email": values["email"],
        "first_name": "Ada",
        "last_name": None,
        "avatar_url": None,
    }
    assert (await client.get(url, params=embed)).json()["created_by_user"] == expected
    assert (await client.get(url)).json()["created_by_user"] is None
    listed = (await client.get("/v1/assets", params={**embed, "fields": "id"})).json()["items"]
    assert listed == [{"id": asset["id"], "created_by_user": expected}]
    assert (await client.get(url, params={"embed": "folder"})).json()["code"] == "INVALID_FIELD"
