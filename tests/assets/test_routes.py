import asyncio
import dataclasses
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from runflow.web.services import Services
from tests.support.uploading import confirm, open_session, picture, send, unsigned, upload

RECORD_KEYS = {
    "id", "org_id", "folder_id", "name", "r2_key", "url", "thumbnail_url", "mime_type", "size_bytes", "asset_type",
    "source_type", "source_id", "created_by", "created_at", "updated_at", "deleted_at", "deleted_by",
    "created_by_user",
}  # fmt: skip


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    return problem


async def stored_keys(services: Services, upload_id: str) -> list[str]:
    return [key for place in ("uploads", "assets") async for key in services.storage.list(f"{place}/{upload_id}")]


async def test_the_three_steps(client: httpx.AsyncClient, anonymous: httpx.AsyncClient, services: Services) -> None:
    content = picture()
    session = await open_session(client, content)
    assert session["upload_url"].startswith("http://testserver/v1/storage/uploads/")
    expires = datetime.fromisoformat(session["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < expires <= timedelta(hours=1)
    assert (await send(session["upload_url"], content, "image/png", anonymous)).status_code == 200

    answer = await confirm(client, session["asset_id"], {"folder_id": None})
    assert answer.status_code == 201
    asset = answer.json()
    assert set(asset) == RECORD_KEYS
    assert asset["id"] == session["asset_id"]
    assert (asset["name"], asset["mime_type"], asset["size_bytes"]) == ("photo.png", "image/png", len(content))
    assert (asset["asset_type"], asset["source_type"], asset["folder_id"]) == ("image", "upload", None)
    assert asset["created_at"].endswith("+00:00")
    got = await anonymous.get(asset["url"])
    assert got.content == content
    assert got.headers["Content-Type"] == "image/png"
    assert got.headers["Content-Disposition"].startswith('inline; filename="photo.png"')
    assert await stored_keys(services, asset["id"]) == [asset["r2_key"]]

    again = await client.get(f"/v1/assets/{asset['id']}")
    assert again.status_code == 200
    assert unsigned(again.json()) == unsigned(asset)
    assert (await anonymous.get(again.json()["url"])).content == content


async def test_a_body_is_optional_at_confirmation(client: httpx.AsyncClient) -> None:
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    answer = await client.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations")
    assert answer.status_code == 201, answer.text


async def test_a_publishing_key_may_upload_but_not_read(
    services: Services, anonymous: httpx.AsyncClient, make_key: Any
) -> None:
    anonymous.headers["Authorization"] = f"Bearer {await make_key(('comfyui-workflows:create',))}"
    asset = await upload(anonymous, picture())
    assert_problem(await anonymous.get(f"/v1/assets/{asset['id']}"), 403, "PERMISSION_DENIED")


async def test_confirming_twice_gives_the_same_asset(client: httpx.AsyncClient, services: Services) -> None:
    asset = await upload(client, picture())
    again = await confirm(client, asset["id"])
    assert again.status_code == 201
    assert unsigned(again.json()) == unsigned(asset)


async def test_confirming_at_the_same_time_gives_one_asset(client: httpx.AsyncClient, services: Services) -> None:
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    answers = await asyncio.gather(*(confirm(client, session["asset_id"]) for _ in range(6)))
    assert [answer.status_code for answer in answers] == [201] * 6, [answer.text for answer in answers]
    assert len({answer.json()["r2_key"] for answer in answers}) == 1
    assert await stored_keys(services, session["asset_id"]) == [answers[0].json()["r2_key"]]


async def test_an_asset_never_changes(client: httpx.AsyncClient) -> None:
    """The upload URL is still valid after the confirmation; what it writes is not the asset."""
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    asset = (await confirm(client, session["asset_id"])).json()
    late = await send(session["upload_url"], bytes(len(content)), "image/png", client)
    assert late.status_code == 200
    again = (await confirm(client, session["asset_id"])).json()
    assert again["r2_key"] == asset["r2_key"]
    assert (await client.get(again["url"])).content == content


async def test_confirming_without_bytes(client: httpx.AsyncClient) -> None:
    content = picture()
    session = await open_session(client, content)
    problem = assert_problem(await confirm(client, session["asset_id"]), 422, "VALIDATION_ERROR")
    assert "No bytes were uploaded" in problem["message"]
    assert (await send(session["upload_url"], content, "image/png", client)).status_code == 200
    assert (await confirm(client, session["asset_id"])).status_code == 201


async def test_an_image_that_is_no_image(client: httpx.AsyncClient, services: Services) -> None:
    session = await open_session(client, b"I am no image")
    await send(session["upload_url"], b"I am no image", "image/png", client)
    problem = assert_problem(await confirm(client, session["asset_id"]), 422, "VALIDATION_ERROR")
    assert "declared as image/png" in problem["message"]
    assert "not a readable image" in problem["message"]
    assert await stored_keys(services, session["asset_id"]) == []
    assert_problem(await client.get(f"/v1/assets/{session['asset_id']}"), 404, "ASSET_NOT_FOUND")


async def test_another_size_in_storage_than_declared(client: httpx.AsyncClient, services: Services) -> None:
    """The signed URL refuses it already; a store that cannot, such as S3, leaves it to the confirmation."""
    session = await open_session(client, picture())
    key = f"uploads/{session['asset_id']}/photo.png"
    await services.storage.put(key, b"other bytes", limit=100)
    problem = assert_problem(await confirm(client, session["asset_id"]), 422, "VALIDATION_ERROR")
    assert "11 bytes" in problem["message"]
    assert await stored_keys(services, session["asset_id"]) == []


async def test_another_type_in_storage_than_declared(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    storage = type(services.storage)
    real = storage.head

    async def typed(self: Any, key: str) -> Any:
        found = await real(self, key)
        return found and dataclasses.replace(found, content_type="text/html")

    monkeypatch.setattr(storage, "head", typed)
    problem = assert_problem(await confirm(client, session["asset_id"]), 422, "VALIDATION_ERROR")
    assert "text/html" in problem["message"]
    assert await stored_keys(services, session["asset_id"]) == []


async def test_folders_do_not_exist_yet(client: httpx.AsyncClient) -> None:
    content = picture()
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    problem = assert_problem(
        await confirm(client, session["asset_id"], {"folder_id": str(uuid4())}), 422, "VALIDATION_ERROR"
    )
    assert problem["errors"][0]["loc"] == ["body", "folder_id"]
    assert (await confirm(client, session["asset_id"])).status_code == 201


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"filename": ""}, "filename"),
        ({"filename": "x" * 501}, "filename"),
        ({"filename": "a\x00b"}, "filename"),
        ({"filename": "a\nb"}, "filename"),
        ({"filename": "folder/"}, "filename"),
        ({"filename": ".."}, "filename"),
        ({"filename": None}, "filename"),
        ({"mime_type": ""}, "mime_type"),
        ({"mime_type": "png"}, "mime_type"),
        ({"mime_type": "image/png\r\nX: y"}, "mime_type"),
        ({"mime_type": "image/" + "x" * 250}, "mime_type"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"size_bytes": -1}, "size_bytes"),
        ({"size_bytes": 50 * 1024 * 1024 + 1}, "size_bytes"),
        ({"size_bytes": 2**70}, "size_bytes"),
        ({"size_bytes": "many"}, "size_bytes"),
    ],
)
async def test_what_cannot_be_declared(client: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    body = {"filename": "a.png", "mime_type": "image/png", "size_bytes": 10, **change}
    problem = assert_problem(await client.post("/v1/asset-uploads", json=body), 422, "VALIDATION_ERROR")
    assert problem["errors"][0]["loc"] == ["body", field]


async def test_surrogates_and_broken_json(client: httpx.AsyncClient) -> None:
    for content, status in (
        (b'{"filename": "\\ud800", "mime_type": "a/b", "size_bytes": 1}', 400),
        (b'{"filename": ', 400),
    ):
        answer = await client.post("/v1/asset-uploads", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text


async def test_a_path_is_reduced_to_its_file(client: httpx.AsyncClient) -> None:
    asset = await upload(client, picture(), filename="../../etc/päss wd#1.png")
    assert asset["name"] == "päss wd#1.png"
    assert asset["r2_key"].endswith("/päss wd_1.png")
    assert (await client.get(asset["url"])).status_code == 200


async def test_long_and_foreign_names(client: httpx.AsyncClient) -> None:
    name = "日" * 496 + ".png"
    asset = await upload(client, picture(), filename=name)
    assert asset["name"] == name
    got = await client.get(asset["url"])
    assert got.status_code == 200
    assert "filename*=UTF-8''%E6%97%A5" in got.headers["Content-Disposition"]


async def test_what_is_there_is_found_by_its_content(
    client: httpx.AsyncClient, other_client: httpx.AsyncClient
) -> None:
    content = f"content {uuid4()}".encode()
    asked = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}

    async def look(by: httpx.AsyncClient, *items: dict[str, Any]) -> list[dict[str, Any]]:
        answer = await by.post("/v1/asset-lookups", json={"items": items})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["items"]
        return found

    missing = [{**asked, "asset_id": None, "url": None}]
    assert await look(client, asked) == missing
    asset = await upload(client, content, "text/plain", "notes.txt")
    longer = {**asked, "size_bytes": 1}
    found, other = await look(client, asked, longer)
    assert (found["asset_id"], other) == (asset["id"], {**longer, "asset_id": None, "url": None})
    assert (await client.get(found["url"])).content == content
    assert await look(other_client, asked) == missing, "of another organization nothing is said"
    await client.delete(f"/v1/assets/{asset['id']}")
    assert await look(client, asked) == missing


@pytest.mark.parametrize("mime_type", ["text/html", "image/svg+xml", "application/octet-stream", "video/mp4"])
async def test_any_type_can_be_uploaded_and_does_no_harm(client: httpx.AsyncClient, mime_type: str) -> None:
    content = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    asset = await upload(client, content, mime_type, "thing.bin")
    got = await client.get(asset["url"])
    assert got.headers["Content-Type"] == mime_type
    assert "sandbox" in got.headers["Content-Security-Policy"]
    assert got.headers["X-Content-Type-Options"] == "nosniff"


async def test_another_organization_sees_nothing(client: httpx.AsyncClient, other_client: httpx.AsyncClient) -> None:
    content = picture()
    asset = await upload(client, content)
    session = await open_session(client, content)
    await send(session["upload_url"], content, "image/png", client)
    for upload_id in (asset["id"], session["asset_id"]):
        assert_problem(await other_client.get(f"/v1/assets/{upload_id}"), 404, "ASSET_NOT_FOUND")
        assert_problem(await confirm(other_client, upload_id), 404, "ASSET_NOT_FOUND")
    assert (await confirm(client, session["asset_id"])).status_code == 201


async def test_unknown_and_malformed_ids(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get(f"/v1/assets/{uuid4()}"), 404, "ASSET_NOT_FOUND")
    assert_problem(await confirm(client, str(uuid4())), 404, "ASSET_NOT_FOUND")
    assert_problem(await client.get("/v1/assets/nonsense"), 422, "VALIDATION_ERROR")
    assert_problem(await confirm(client, "nonsense"), 422, "VALIDATION_ERROR")


async def test_without_a_key(anonymous: httpx.AsyncClient) -> None:
    body = {"filename": "a.png", "mime_type": "image/png", "size_bytes": 10}
    assert_problem(await anonymous.post("/v1/asset-uploads", json=body), 401, "UNAUTHORIZED")
    assert_problem(await confirm(anonymous, str(uuid4())), 401, "UNAUTHORIZED")
    assert_problem(await anonymous.get(f"/v1/assets/{uuid4()}"), 401, "UNAUTHORIZED")


async def test_embed_and_fields(client: httpx.AsyncClient) -> None:
    asset = await upload(client, picture())
    path = f"/v1/assets/{asset['id']}"
    answer = await client.get(path, params={"embed": "created_by_user"})
    assert answer.status_code == 200 and answer.json()["created_by_user"] is None
    assert (await client.get(path, params={"fields": "id,name"})).json() == {"id": asset["id"], "name": "photo.png"}
    problem = assert_problem(await client.get(path, params={"embed": "folder"}), 400, "INVALID_FIELD")
    assert "created_by_user" in problem["message"]


async def test_the_hash_is_kept(client: httpx.AsyncClient, services: Services) -> None:
    from runflow.assets import service

    content = picture("JPEG")
    asset = await upload(client, content, "image/jpeg", "photo.jpg")
    asset_id = UUID(asset["id"])
    async with services.db.tenant(UUID(asset["org_id"])) as transaction:
        found = await service.resolve(transaction, [asset_id, uuid4()])
    assert list(found) == [asset_id]
    file = found[asset_id]
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (file.filename, file.mime_type, file.size_bytes) == ("photo.jpg", "image/jpeg", len(content))
    assert file.object_key == asset["r2_key"]


async def test_the_signed_urls_cannot_be_traded(client: httpx.AsyncClient) -> None:
    content = picture()
    mine = await open_session(client, content)
    other = await open_session(client, content)
    foreign = mine["upload_url"].replace(mine["asset_id"], other["asset_id"])
    assert_problem(await send(foreign, content, "image/png", client), 403, "URL_EXPIRED")
    assert_problem(await client.get(mine["upload_url"]), 403, "URL_EXPIRED")
    asset = await upload(client, content)
    put = await send(asset["url"], content, "image/png", client)
    assert_problem(put, 403, "URL_EXPIRED")
