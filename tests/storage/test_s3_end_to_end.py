"""Files in a bucket, seen from outside: nothing passes through the server but words."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow import errors
from runflow.accounts.keys import service as keys
from runflow.assets.retention import sweep_stale_uploads
from runflow.master_key import MasterKey
from runflow.outgoing.client import GuardedClient
from runflow.server import create_app
from runflow.settings import Settings
from runflow.storage.choice import open_storage
from runflow.web.services import Services
from tests.support.application import MakeKey, new_org
from tests.support.asset_lifetime import age
from tests.support.deployed import PROMPT, Worker
from tests.support.s3_fixtures import BUCKET, moto_settings
from tests.support.uploading import confirm, open_session, picture


@pytest.fixture
def settings(s3_endpoint: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, public_url="http://testserver", **moto_settings(s3_endpoint))


@pytest.fixture
async def parts(services: Services, settings: Settings) -> AsyncIterator[Services]:
    """The parts of a server whose files are in a bucket."""
    storage = await open_storage(settings, services.key)
    yield dataclasses.replace(services, storage=storage, settings=settings)
    await storage.close()


@pytest.fixture
async def http(parts: Services) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key; the server in this process, the bucket over the network."""
    mounts = {"http://testserver": httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)}
    async with httpx.AsyncClient(mounts=mounts, base_url="http://testserver") as client:
        yield client


@pytest.fixture
async def caller(http: httpx.AsyncClient, parts: Services, make_key: MakeKey) -> httpx.AsyncClient:
    """The same with a key, which goes to the server only."""
    http.headers["Authorization"] = f"Bearer {await make_key(org=await new_org(parts))}"
    return http


async def put(
    client: httpx.AsyncClient, url: str, content: bytes, content_type: str = "", **headers: str
) -> httpx.Response:
    headers = {**({"Content-Type": content_type} if content_type else {}), **headers}
    request = client.build_request("PUT", url, content=content, headers=headers)
    request.headers.pop("Authorization", None)
    return await client.send(request)


async def get(client: httpx.AsyncClient, url: str, **headers: str) -> httpx.Response:
    request = client.build_request("GET", url, headers=headers)
    request.headers.pop("Authorization", None)
    return await client.send(request)


async def upload(client: httpx.AsyncClient, content: bytes) -> dict[str, Any]:
    session = await open_session(client, content)
    assert (await put(client, session["upload_url"], content, "image/png")).status_code == 200
    answer = await confirm(client, session["asset_id"])
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def test_a_file_goes_in_and_a_picture_comes_out(
    caller: httpx.AsyncClient, parts: Services, s3_endpoint: str
) -> None:
    photo, made = picture(), picture(size=(32, 32))
    asset = await upload(caller, photo)
    for url in (asset["url"], asset["thumbnail_url"]):
        assert url.startswith(f"{s3_endpoint}/{BUCKET}/")
    got = await get(caller, asset["url"])
    assert (got.content, got.headers["Content-Type"]) == (photo, "image/png")
    assert got.headers["Content-Disposition"].startswith('inline; filename="photo.png"')
    assert (await get(caller, asset["thumbnail_url"])).headers["Content-Type"] == "image/webp"

    gpu = f"GPU-{asset['id'][-8:]}"
    body = {"name": "W", "workflow_json": PROMPT, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
    workflow = (await caller.post("/v1/comfyui-workflows", json=body)).json()
    reference = f"runflow://assets/{asset['id']}"
    dispatched = await caller.post(
        f"/v1/comfyui-workflows/{workflow['path']}/runs", json={"input": {"prompt": "x", "photo": reference}}
    )
    assert dispatched.status_code == 201, dispatched.text
    run = dispatched.json()

    async with parts.db.system() as connection:
        _, token = await keys.create_worker_token(connection, "test")
    mounts = {"http://testserver": httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)}
    async with httpx.AsyncClient(mounts=mounts, base_url="http://testserver") as at_work:
        at_work.headers["Authorization"] = f"Bearer {token}"
        worker = Worker(at_work, f"worker-{gpu}", gpu)
        await worker.register()
        lease = await worker.lease(20)
        assert lease is not None and lease["run_id"] == run["id"]
        file = lease["files"][reference]
        assert hashlib.sha256((await get(at_work, file["url"])).content).hexdigest() == file["sha256"]
        ask = {"ordinal": 0, "filename": "out ü.png", "content_type": "image/png", "size_bytes": None}
        answer = await at_work.post(f"/v1/worker/leases/{lease['id']}/uploads", json={**worker.me, "files": [ask]})
        slot = answer.json()["uploads"][0]
        assert slot["url"].startswith(s3_endpoint)
        assert (await put(at_work, slot["url"], made, **slot["headers"])).status_code == 200
        output = {**ask, "size_bytes": len(made), "object_key": slot["object_key"], "output_id": "picture"}
        wrong = await worker.complete(lease, outputs=[{**output, "node_id": "9", "size_bytes": 1}])
        assert wrong.status_code == 422, "what lies in the bucket is looked at, not believed"
        done = await worker.complete(lease, outputs=[{**output, "node_id": "9"}])
        assert done.status_code == 200, done.text

    after = (await caller.get(f"/v1/runs/{run['id']}")).json()
    assert after["status_code"] == "succeeded"
    assert after["input"]["photo"].startswith(s3_endpoint)
    shown = after["output"]["outputs"][0]
    assert shown["url"].startswith(f"{s3_endpoint}/{BUCKET}/")
    got = await get(caller, shown["url"])
    assert (got.content, got.headers["Content-Type"]) == (made, "image/png")
    part = await get(caller, shown["url"], Range="bytes=0-3")
    assert (part.status_code, part.content) == (206, made[:4])


@pytest.mark.parametrize("knows_conditions", [True, False])
async def test_no_upload_url_changes_what_a_finished_run_has(
    request: pytest.FixtureRequest, services: Services, tmp_path: Path, make_key: MakeKey, knows_conditions: bool
) -> None:
    """Where the bucket cannot refuse a second PUT, the run has a copy that no URL leads to."""
    endpoint = request.getfixturevalue("s3_endpoint" if knows_conditions else "unconditional_s3_endpoint")
    settings = Settings(home=tmp_path, public_url="http://testserver", **moto_settings(endpoint))
    storage = await open_storage(settings, services.key)
    parts = dataclasses.replace(services, storage=storage, settings=settings)
    async with parts.db.system() as transaction:
        _, token = await keys.create_worker_token(transaction, "test")
    mounts = {"http://testserver": httpx.ASGITransport(create_app(parts), raise_app_exceptions=False)}
    async with (
        httpx.AsyncClient(mounts=mounts, base_url="http://testserver") as caller,
        httpx.AsyncClient(mounts=mounts, base_url="http://testserver") as at_work,
    ):
        caller.headers["Authorization"] = f"Bearer {await make_key()}"
        at_work.headers["Authorization"] = f"Bearer {token}"
        gpu = f"GPU-{tmp_path.name}"
        body = {"name": "W", "workflow_json": PROMPT, "gpu_mode": "explicit", "gpu_explicit_models": [gpu]}
        workflow = (await caller.post("/v1/comfyui-workflows", json=body)).json()
        sent = await caller.post(f"/v1/comfyui-workflows/{workflow['path']}/runs", json={"input": {"prompt": "x"}})
        worker = Worker(at_work, f"worker-{gpu}", gpu)
        await worker.register()
        lease = await worker.lease(20)
        assert lease is not None
        ask = {"ordinal": 0, "filename": "a.png", "content_type": "image/png", "size_bytes": 3}
        path = f"/v1/worker/leases/{lease['id']}/uploads"
        slot = (await at_work.post(path, json={**worker.me, "files": [ask]})).json()["uploads"][0]
        assert (await put(at_work, slot["url"], b"png", **slot["headers"])).status_code == 200
        output = {**ask, "object_key": slot["object_key"], "output_id": "picture", "node_id": "9"}
        wrong = await worker.complete(lease, outputs=[{**output, "size_bytes": 1}])
        assert wrong.status_code == 422, wrong.text
        assert len([key async for key in storage.list("runs")]) == 1, "no copy stays where the completion failed"
        for _ in range(2):
            assert (await worker.complete(lease, outputs=[output])).status_code == 200
        assert (await at_work.post(path, json={**worker.me, "files": [ask]})).status_code == 409
        assert (await put(at_work, slot["url"], b"PNG", **slot["headers"])).status_code == (
            412 if knows_conditions else 200
        )
        assert (await put(at_work, slot["url"], b"PNG", "image/png")).status_code == (403 if knows_conditions else 200)
        run = (await caller.get(f"/v1/runs/{sent.json()['id']}")).json()
        assert (await get(caller, run["output"]["outputs"][0]["url"])).content == b"png"
    await storage.close()


async def test_what_was_not_declared_leaves_nothing(caller: httpx.AsyncClient, parts: Services) -> None:
    content = picture()
    session = await open_session(caller, content)
    assert (await confirm(caller, session["asset_id"])).json()["errors"][0]["type"] == "missing"
    refused = await put(caller, session["upload_url"], content + b"!", "image/png")
    assert refused.status_code == 403
    assert (await put(caller, session["upload_url"], content, "text/html")).status_code == 403
    # Bytes of the declared type and size that are no image: only a look at them can tell.
    assert (await put(caller, session["upload_url"], b"x" * len(content), "image/png")).status_code == 200
    assert (await confirm(caller, session["asset_id"])).status_code == 422
    for place in ("uploads", "assets"):
        assert [key async for key in parts.storage.list(place)] == []
    assert (await put(caller, session["upload_url"], content, "image/png")).status_code == 200
    assert (await confirm(caller, session["asset_id"])).status_code == 201


async def test_the_sweep_finds_what_was_never_confirmed(caller: httpx.AsyncClient, parts: Services) -> None:
    content = picture()
    session = await open_session(caller, content)
    await put(caller, session["upload_url"], content, "image/png")
    await age(parts, session["asset_id"], 3)
    await sweep_stale_uploads(parts)
    assert [key async for key in parts.storage.list("uploads")] == []


async def test_the_bucket_is_reached_where_other_private_addresses_are_not(
    s3_endpoint: str, settings: Settings
) -> None:
    async with GuardedClient.from_settings(settings) as client:
        answer = await client.post(f"{s3_endpoint}/moto-api/", b"", {}, 5, 100)
        assert answer.status
        with pytest.raises(Exception, match="private or reserved network"):
            await client.post("http://127.0.0.1:1/", b"", {}, 5, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"storage_url": "s3://no-such-bucket"}, "There is no bucket no-such-bucket at http://127.0.0.1"),
        ({"storage_access_key": "wrong"}, "refuses this server's credentials.*RUNFLOW_STORAGE_ACCESS_KEY"),
        ({"storage_endpoint": "http://127.0.0.1:1"}, "cannot be used right now.*RUNFLOW_STORAGE_ENDPOINT"),
    ],
)
async def test_a_bucket_that_cannot_be_used_shows_at_the_start(
    s3_endpoint: str, tmp_path: Path, master_key: MasterKey, change: dict[str, str], message: str
) -> None:
    settings = Settings(home=tmp_path, **{**moto_settings(s3_endpoint), **change})
    with pytest.raises(errors.Unavailable, match=message):
        await open_storage(settings, master_key)


async def test_no_credentials_at_all(s3_endpoint: str, tmp_path: Path, master_key: MasterKey, monkeypatch: Any) -> None:
    values = moto_settings(s3_endpoint, storage_access_key=None, storage_secret_key=None)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(errors.Unavailable, match=r"no credentials for the bucket.*none were found"):
        await open_storage(Settings(home=tmp_path, **values), master_key)
    profile = tmp_path / "credentials"
    profile.write_text("[default]\naws_access_key_id = test-access-key\naws_secret_access_key = test-secret-key\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    storage = await open_storage(Settings(home=tmp_path, **values), master_key)
    await storage.put("a/b", b"x", limit=1)
    await storage.close()
