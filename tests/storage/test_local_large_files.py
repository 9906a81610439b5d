"""A file of a gigabyte through a real server process, in and out: its memory stays flat."""

import hashlib
from collections.abc import Iterator

import httpx
import psutil
import pytest

from tests.support.platform_fixtures import Platform, installation

pytestmark = pytest.mark.e2e

PIECE = bytes(range(256)) * 4096
PIECES = 1024
SIZE = len(PIECE) * PIECES
MOST_GROWTH = 64 * 1024 * 1024


class Watch:
    """The largest memory of a process since this was made, beyond what it had then."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.before = self.peak = process.memory_info().rss

    def look(self) -> None:
        self.peak = max(self.peak, self.process.memory_info().rss)

    @property
    def growth(self) -> int:
        self.look()
        return self.peak - self.before


@pytest.fixture(scope="module")
def server() -> Iterator[Platform]:
    """A server without a worker that takes uploads of up to 2 GiB."""
    environment = {"RUNFLOW_MAX_UPLOAD_BYTES": str(2 * SIZE)}
    with installation(None, arguments=("--no-worker",), environment=environment) as started:
        yield started


def test_a_gigabyte_in_and_out(server: Platform) -> None:
    headers = {"Authorization": f"Bearer {server.key()}"}
    with httpx.Client(base_url=server.url, timeout=120) as http:
        # What a first request loads is no leak.
        small = open_session(http, headers, 4)
        http.put(small["upload_url"], content=b"data", headers={"Content-Type": "application/octet-stream"})
        watch = Watch(server.server())
        session = open_session(http, headers, SIZE)

        def sent() -> Iterator[bytes]:
            for number in range(PIECES):
                if number % 16 == 0:
                    watch.look()
                yield PIECE

        types = {"Content-Type": "application/octet-stream", "Content-Length": str(SIZE)}
        answer = http.put(session["upload_url"], content=sent(), headers=types)
        assert answer.status_code == 200, answer.text
        sha256 = answer.json()["sha256"]
        confirmed = http.post(f"/v1/asset-uploads/{session['asset_id']}/confirmations", headers=headers)
        assert confirmed.status_code == 201, confirmed.text
        assert confirmed.json()["size_bytes"] == SIZE
        after_upload = watch.growth

        digest, received = hashlib.sha256(), 0
        with http.stream("GET", confirmed.json()["url"]) as got:
            assert got.status_code == 200
            for chunk in got.iter_bytes(len(PIECE)):
                digest.update(chunk)
                received += len(chunk)
                if received % (16 * len(PIECE)) < len(PIECE):
                    watch.look()
        assert (received, digest.hexdigest()) == (SIZE, sha256)
        end = http.get(confirmed.json()["url"], headers={"Range": f"bytes={SIZE - 5}-"})
        assert (end.status_code, end.content) == (206, PIECE[-5:])
    print(f"growth: {after_upload / 2**20:.0f} MiB after the upload, {watch.growth / 2**20:.0f} MiB in all")
    assert watch.growth < MOST_GROWTH


def open_session(http: httpx.Client, headers: dict[str, str], size: int) -> dict[str, str]:
    """Declare a file of this size."""
    body = {"filename": "large.bin", "mime_type": "application/octet-stream", "size_bytes": size}
    answer = http.post("/v1/asset-uploads", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())
