"""One home has one server; who was killed holds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runflow.home_lock import HomeServed, serving_home

URL = "http://127.0.0.1:8700"
HOLD = """
import sys
from pathlib import Path
from runflow.home_lock import serving_home
with serving_home(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_who_serves(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with (
        serving_home(home, URL),
        pytest.raises(HomeServed, match=f"served by process {os.getpid()} at {URL}\\."),
        serving_home(home, "http://127.0.0.1:8701"),
    ):
        pass
    with serving_home(home, URL):
        pass


def test_who_was_killed_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path), URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(HomeServed, match=f"process {process.pid} at"), serving_home(tmp_path, URL):
            pass
        process.kill()
    with serving_home(tmp_path, URL):
        pass
