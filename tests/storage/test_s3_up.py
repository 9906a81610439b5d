"""`runflow up` with its files in a bucket, and with a bucket that is not there."""

import subprocess
import sys

import httpx
import pytest

from tests.support.platform_fixtures import Platform, installation, new_home
from tests.support.s3_fixtures import moto_settings

pytestmark = pytest.mark.e2e


def environment(endpoint: str, **more: str) -> dict[str, str]:
    return {f"RUNFLOW_{name.upper()}": value for name, value in moto_settings(endpoint, **more).items()}


def test_it_starts_and_files_go_to_the_bucket(s3_endpoint: str) -> None:
    with installation(None, arguments=("--no-worker",), environment=environment(s3_endpoint)) as server:
        headers = {"Authorization": f"Bearer {server.key()}"}
        with httpx.Client(base_url=server.url, timeout=30) as http:
            body = {"filename": "a.txt", "mime_type": "text/plain", "size_bytes": 5}
            session = http.post("/v1/asset-uploads", json=body, headers=headers).json()
            assert session["upload_url"].startswith(s3_endpoint)
            assert http.put(session["upload_url"], content=b"hello", headers={"Content-Type": "text/plain"}).is_success
            done = http.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations", headers=headers)
            assert done.status_code == 201, done.text
            assert http.get(done.json()["url"]).content == b"hello"
        assert not (server.home / "storage").exists()


def test_a_bucket_that_is_not_there_is_one_sentence(s3_endpoint: str) -> None:
    platform = Platform(new_home(), None, environment=environment(s3_endpoint, storage_url="s3://no-such-bucket"))
    command = [sys.executable, "-m", "runflow", "up", "--no-worker", "--port", str(platform.port)]
    ended = subprocess.run(command, env=platform._env, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "There is no bucket no-such-bucket at http://127.0.0.1" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
