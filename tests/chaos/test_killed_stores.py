"""Workers of one machine that are killed while they fetch models and give others up: nothing is corrupt, or twice."""

import hashlib
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from runflow.worker.store.content import ContentStore
from tests.support.http_server import QuietHandler, serving

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

KILLS = 50
WORKERS = 2
MODELS = [random.Random(number).randbytes(6_000_000 + number * 9_000_000) for number in range(5)]
"""From one block to three."""
LIMIT_BYTES = 60_000_000
"""Two of the largest: so the store always gives something up."""

WORKER = """
import asyncio, hashlib, random, sys
from pathlib import Path
from runflow.outgoing import GuardedClient
from runflow.worker.store.content import ContentStore, StoreFull
from runflow.worker.store.fetch.credentials import Credentials
from runflow.worker.store.fetch.sources import AddressSource

folder, limit, seed, url, *models = sys.argv[1:]

async def main():
    chance = random.Random(int(seed))
    store = ContentStore(Path(folder), limit_bytes=int(limit))
    async with GuardedClient("127.0.0.0/8") as client:
        while True:
            sha256 = chance.choice(models)
            source = AddressSource(client, f"{url}/{sha256}", Credentials())
            try:
                held = await store.take(sha256, public=True) or await store.fetch(
                    source, sha256=sha256, name=sha256, size_bytes=None, most_bytes=1 << 30, patience=60, public=True
                )
            except StoreFull:
                continue  # the other one uses what would have to go
            if hashlib.sha256(held.path.read_bytes()).hexdigest() != sha256:
                sys.exit("a content is not what its name says")
            held.release()

asyncio.run(main())
"""


class Host:
    """Serves the models by their hash, in parts, and tells when so many bytes more have been sent."""

    def __init__(self) -> None:
        self.models = {hashlib.sha256(content).hexdigest(): content for content in MODELS}
        self._counting = threading.Lock()
        self._left = 0
        self._reached = threading.Event()

    def wait_for(self, sent_bytes: int) -> None:
        """Wait until so many bytes more were sent."""
        with self._counting:
            self._left = sent_bytes
            self._reached.clear()
        assert self._reached.wait(120), "the workers fetch nothing any more"

    def count(self, sent_bytes: int) -> None:
        with self._counting:
            self._left -= sent_bytes
            if self._left <= 0:
                self._reached.set()


def handler(host: Host) -> type[QuietHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            content = host.models[self.path.removeprefix("/")]
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last) + 1 if last else len(content), len(content))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            for at in range(start, stop, 256 * 1024):
                piece = content[at : min(at + 256 * 1024, stop)]
                try:
                    self.wfile.write(piece)
                except OSError:
                    return
                host.count(len(piece))

    return Handler


def test_kills_at_any_place_corrupt_nothing(tmp_path: Path) -> None:
    chance, host = random.Random(8), Host()
    folder = tmp_path / "store"
    with serving(handler(host)) as url:

        def start() -> subprocess.Popen[bytes]:
            words = [str(folder), str(LIMIT_BYTES), str(chance.random())[2:], url, *host.models]
            return subprocess.Popen([sys.executable, "-P", "-c", WORKER, *words])

        workers = [start() for _ in range(WORKERS)]
        try:
            for _ in range(KILLS):
                host.wait_for(chance.randrange(1, 30_000_000))
                victim = workers.pop(chance.randrange(WORKERS))
                victim.kill()
                assert victim.wait() == -9, "it ended by itself"
                workers.append(start())
            host.wait_for(100_000_000)
            assert [one.poll() for one in workers] == [None] * WORKERS
        finally:
            for one in workers:
                one.kill()
                one.wait()
    found = {path.name: path.read_bytes() for path in (folder / "models").iterdir()}
    assert found and all(hashlib.sha256(content).hexdigest() == name for name, content in found.items())
    assert sum(map(len, found.values())) <= LIMIT_BYTES + max(map(len, MODELS)), "two that fetch at once may go over it"
    assert {one.sha256 for one in ContentStore(folder).contents()} == found.keys()
    parts = [path for path in (folder / "downloads").iterdir() if path.suffix not in (".lock", ".blocks")]
    assert {path.name for path in parts} <= host.models.keys(), "at most one unfinished download of each"
