"""A download whose process is killed at any byte is gone on with by the next one."""

import asyncio
import random
import sys
from collections.abc import Callable
from pathlib import Path

from runflow.worker.server_api.connection import Connection
from runflow.worker.store.fetch.ranges import download
from runflow.worker.store.fetch.sources import ServerSource
from tests.worker.store.storage import BLOCK, Storage, content_of, serving, whole_blocks

KILLS = 10
PROGRAM = """
import asyncio, sys, uuid
from pathlib import Path
from runflow.worker.server_api.connection import Connection
from runflow.worker.store.fetch.ranges import download
from runflow.worker.store.fetch.sources import ServerSource

async def main():
    async with Connection("http://127.0.0.1:9", "none", instance=uuid.uuid4()) as connection:
        await download(
            ServerSource(connection, sys.argv[1]), Path(sys.argv[2]), size_bytes=None, most_bytes=1 << 30, patience=60,
            block_bytes=int(sys.argv[3]),
        )

asyncio.run(main())
"""


async def test_kills_at_any_place_are_gone_on_from(connection: Connection, tmp_path: Path) -> None:
    chance = random.Random(3)
    content = content_of(KILLS * 8 * BLOCK + 77)
    part = tmp_path / "model.part"
    async with serving(Storage(content)) as storage:
        whole: list[tuple[int, int]] = []
        for _ in range(KILLS):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", PROGRAM, storage.url, str(part), str(BLOCK)
            )
            storage.sent = _at(storage.bytes_sent + chance.randrange(1, 8 * BLOCK), process.kill)
            assert await process.wait() == -9
            assert storage.asked_of(whole) == []
            storage.asked.clear()
            whole = whole_blocks(part)
        assert len(whole) >= KILLS
        storage.sent = None
        source = ServerSource(connection, storage.url)
        total = await download(source, part, size_bytes=None, most_bytes=1 << 30, patience=60, block_bytes=BLOCK)
        assert storage.asked_of(whole) == []
    assert total == len(content)
    assert part.read_bytes() == content


def _at(bytes_sent: int, act: Callable[[], None]) -> Callable[[int], None]:
    """Return what acts once, when so many bytes have been sent."""
    done = False

    def look(sent: int) -> None:
        nonlocal done
        if sent >= bytes_sent and not done:
            done = True
            act()

    return look
