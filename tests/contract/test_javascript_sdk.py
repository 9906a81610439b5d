"""What the JavaScript SDK, its proxy and studio send and read (docs/compatibility.md), over TLS of a test authority.

The SDK uploads to `https://` addresses only, so the server is a real process that serves TLS.
"""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from runflow.ids import new_id
from tests.support.certificate import Trusted, make_certificate
from tests.support.deployed import PROMPT, Worker
from tests.support.platform_fixtures import Platform, installation

KEY = re.compile(r"^[a-z0-9_]+$", re.IGNORECASE)
FORWARDED_RUN = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)
POLL_SECONDS = 0.05
"""The SDK polls every 2 s; the tests do not wait for that."""


class SecurePlatform(Platform):
    """An installation reached by https."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def worker_token(self) -> str:
        command = [sys.executable, "-m", "runflow", "keys", "create-worker", "--name", "double", "--json"]
        made = subprocess.run(command, env=self._env, check=True, stdout=subprocess.PIPE)
        return str(json.loads(made.stdout)["token"])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Trusted:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="module")
def server(certificate: Trusted) -> Iterator[SecurePlatform]:
    arguments = ("--no-worker", "--tls-cert", str(certificate.chain), "--tls-key", str(certificate.key))
    with installation(None, SecurePlatform, arguments=arguments, verify=certificate.context) as platform:
        assert isinstance(platform, SecurePlatform)
        yield platform


@dataclass
class Sdk:
    """Behaves like the SDK: its headers, its retries, what it refuses, what it reads."""

    http: httpx.AsyncClient
    key: str

    def __post_init__(self) -> None:
        assert KEY.match(self.key), "the SDK refuses a key with other characters"

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Accept": "application/json", "Authorization": f"Bearer {self.key}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = await self.http.request(method, path, headers=headers, json=body)
        if answer.status_code == 204:
            return None
        assert "application/json" in answer.headers["Content-Type"]
        found = answer.json()
        if answer.is_error:
            raise SdkError(answer.status_code, found.get("code"), found["message"])
        return found

    async def run(self, model: str, body: dict[str, Any]) -> Any:
        segments = "/".join(quote(part, safe="") for part in model.split("/"))
        return await self.request("POST", f"/v1/models/{segments}/runs", body)

    async def wait(self, run_id: str) -> Any:
        while True:
            run = await self.request("GET", f"/v1/runs/{run_id}")
            if run["status_code"] in ("succeeded", "failed", "canceled"):
                if run["status_code"] != "succeeded":
                    error = run.get("error") or {}
                    raise SdkError(200, None, error.get("message") or f"Run {run_id} {run['status_code']}")
                return run
            await asyncio.sleep(POLL_SECONDS)

    async def upload(self, name: str, content: bytes, mime: str, *, repeat: bool = False) -> Any:
        """With `repeat`, every step is done twice, as after an answer that got lost."""
        body = {"filename": name, "mime_type": mime, "size_bytes": len(content)}
        times = 2 if repeat else 1
        for _ in range(times):
            session = await self.request("POST", "/v1/asset-uploads", body)
        assert session["upload_url"].startswith("https://"), "the SDK refuses any other upload URL"
        for _ in range(times):
            sent = await self.http.put(session["upload_url"], content=content, headers={"Content-Type": mime})
            assert sent.is_success, sent.text
        for _ in range(times):
            asset = await self.request(
                "POST", f"/v1/asset-uploads/{session['asset_id']}/confirmations", {"folder_id": None}
            )
        assert asset["id"] and asset["url"]
        return asset


class SdkError(Exception):
    """What the SDK throws: status, code and message."""


@pytest.fixture
async def http(server: SecurePlatform) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, verify=server.verify, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def key(server: SecurePlatform) -> str:
    return server.key()


@pytest.fixture
def sdk(http: httpx.AsyncClient, key: str) -> Sdk:
    return Sdk(http, key)


@pytest.fixture
async def model(sdk: Sdk) -> str:
    """A workflow as the SDK calls one: `owner/slug`."""
    made = await sdk.request("POST", "/v1/comfyui-workflows", {"name": f"M {new_id()}", "workflow_json": PROMPT})
    path: str = made["path"]
    return path


@pytest.fixture
async def worker(server: SecurePlatform) -> AsyncIterator[Worker]:
    headers = {"Authorization": f"Bearer {server.worker_token()}"}
    async with httpx.AsyncClient(base_url=server.url, verify=server.verify, headers=headers, timeout=40) as client:
        double = Worker(client, f"double-{new_id().hex[-8:]}")
        await double.register()
        yield double


async def work(worker: Worker, *, fails: bool = False) -> None:
    lease = await worker.lease(wait=10)
    assert lease is not None
    assert (await worker.heartbeat(lease)).status_code == 200
    if fails:
        await worker.fail(lease, "EXECUTION_FAILED")
    else:
        await worker.complete(lease, outputs=[await worker.upload(lease)])


async def test_health_is_read_under_either_name(sdk: Sdk) -> None:
    found = await sdk.request("GET", "/v1/health")
    assert found["ok"] is True and found["status"] == "ok"


async def test_a_run_is_dispatched_by_the_models_path_and_polled_to_its_end(
    sdk: Sdk, model: str, worker: Worker
) -> None:
    body = {
        "input": {"prompt": "an otter"},
        "client_ref": "runflow-sdk-tool-1764000000000",
        "metadata": {"tool": "upscale", "source": "runflow-sdk"},
    }
    run = await sdk.run(model, body)
    assert FORWARDED_RUN.match(run["id"]), "the proxy forwards no other form"
    assert run["status_code"] in ("queued", "running")
    ended, _ = await asyncio.gather(sdk.wait(run["id"]), work(worker))
    assert ended["output"]["outputs"][0]["url"].startswith("https://")
    assert (await sdk.http.get(ended["output"]["outputs"][0]["url"])).content == b"png"
    assert ended["metadata"] == body["metadata"] and ended["client_ref"] == body["client_ref"]


async def test_a_failure_s_text_is_the_error_s_message(sdk: Sdk, model: str, worker: Worker) -> None:
    run = await sdk.run(model, {"input": {"prompt": "an otter"}})
    with pytest.raises(SdkError, match=r"It broke\. Mend it\."):
        await asyncio.gather(sdk.wait(run["id"]), work(worker, fails=True))


@pytest.mark.parametrize("repeat", [False, True], ids=["once", "each step repeated"])
async def test_an_upload_goes_to_https_and_is_an_input_afterwards(
    sdk: Sdk, model: str, worker: Worker, picture: bytes, repeat: bool
) -> None:
    asset = await sdk.upload("photo.png", picture, "image/png", repeat=repeat)
    assert {"name", "mime_type", "size_bytes", "thumbnail_url", "created_at"} <= set(asset)
    assert (asset["name"], asset["mime_type"], asset["size_bytes"]) == ("photo.png", "image/png", len(picture))
    assert (await sdk.request("GET", f"/v1/assets/{asset['id']}"))["url"].startswith("https://")
    run = await sdk.run(model, {"input": {"prompt": "an otter", "photo": f"runflow://assets/{asset['id']}"}})
    read = await sdk.request("GET", f"/v1/runs/{run['id']}")
    assert (await sdk.http.get(read["input"]["photo"])).content == picture, "a reference is signed at every read"
    await work(worker)
    assert (await sdk.wait(run["id"]))["status_code"] == "succeeded"


async def test_errors_are_read_from_the_flat_envelope(sdk: Sdk) -> None:
    with pytest.raises(SdkError) as caught:
        await sdk.run("nobody/nothing", {"input": {}})
    assert caught.value.args[:2] == (404, "COMFYUI_WORKFLOW_NOT_FOUND")


async def test_a_deep_path_is_an_error_with_the_envelope(sdk: Sdk) -> None:
    with pytest.raises(SdkError) as caught:
        await sdk.run("a/b/c/d/e", {"input": {}})
    assert caught.value.args[:2] == (404, "NOT_FOUND")


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.new("RGB", (32, 24), (200, 30, 60)).save(path)
    return path.read_bytes()
