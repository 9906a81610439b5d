"""The home of a worker's engines, without a ComfyUI: lives that are made at once, and the script that serves."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation.rungs import Rung, Sandbox


@pytest.fixture
def home(tmp_path: Path) -> EngineHome:
    """Its base folder is there, and nothing is known of what holds its engines."""
    made = EngineHome(OwnedSettings(tmp_path / "comfyui", tmp_path / "base"))
    made.lives.mkdir(parents=True)
    return made


class TwoAtOnce(Sandbox):
    """A sandbox in which who looks for a user waits for another who does, for a while."""

    __slots__ = ()
    looking = threading.Barrier(2)

    def next_number(self, after: int) -> int | None:
        """Wait for the other."""
        number = super().next_number(after)
        try:
            self.looking.wait(0.5)
        except threading.BrokenBarrierError:
            self.looking.reset()
        return number


def test_two_engines_that_start_at_once_have_two_users(home: EngineHome) -> None:
    home.sandbox = TwoAtOnce(Rung.NAMESPACES, privileged=os.geteuid() == 0, users=os.geteuid() or 54_000)
    if os.geteuid() != 0:
        pytest.skip("only root has users to give")
    with ThreadPoolExecutor(2) as threads:
        lives = list(threads.map(lambda _: home.new_life(), range(2)))
    assert len({life.uid for life in lives}) == 2
    for life in lives:
        home.end_life(life)


def test_the_script_that_an_engine_reads_is_replaced_and_never_emptied(home: EngineHome) -> None:
    place = Path(home._place_script())
    content = place.read_bytes()
    with place.open("rb") as read_by_another:
        before = place.stat()
        home._place_script()
        assert (place.stat().st_ino, place.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
        place.write_bytes(content[:100])
        with place.open("rb") as older:
            home._place_script()
            assert older.read() == content[:100]
        read_by_another.seek(0)
    assert place.read_bytes() == content
    assert place.stat().st_mode & 0o777 == 0o644
