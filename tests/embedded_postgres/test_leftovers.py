import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from runflow.embedded_postgres import leftovers
from runflow.embedded_postgres.location import Location
from runflow.embedded_postgres.user import DatabaseUser

# A copy of a shell named postgres, with the arguments of a server.
PRETEND = """
import os, shutil, sys
program = os.path.join(os.path.dirname(sys.argv[1]), "postgres-program")
os.mkdir(program)
program = shutil.copy(os.path.realpath("/bin/sh"), os.path.join(program, "postgres"))
os.execv(program, ["postgres", "-s", "-", "-D", sys.argv[1]])
"""
NOBODY = DatabaseUser(name="nobody", uid=65534, gid=65534, switch=True)


@pytest.mark.usefixtures("as_root")
def test_a_process_that_only_looks_like_ours_is_never_touched(tmp_path: Path, wait_until: Callable[..., Any]) -> None:
    # Another user's process may call itself what it likes: only the database user's own processes count.
    location = Location(home=tmp_path, folder=tmp_path)
    pretender = subprocess.Popen(
        [sys.executable, "-c", PRETEND, str(location.data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with pretender:
        try:
            wait_until(lambda: psutil.Process(pretender.pid).cmdline()[:1] == ["postgres"])
            us = DatabaseUser(name="root", uid=0, gid=0, switch=False)
            assert [process.pid for process in leftovers.find(location, us)] == [pretender.pid]
            assert leftovers.find(location, NOBODY) == []
        finally:
            pretender.kill()


def test_a_stale_process_id_that_another_process_has_now_is_only_forgotten(tmp_path: Path) -> None:
    location = Location(home=tmp_path, folder=tmp_path)
    location.data.mkdir()
    us = DatabaseUser(name="us", uid=os.geteuid(), gid=os.getegid(), switch=False)
    bystander = subprocess.Popen(["/bin/sleep", "60"])
    try:
        (location.data / "postmaster.pid").write_text(f"{bystander.pid}\n{location.data}\n")
        leftovers.stop(location, us, lambda message: None)
        assert bystander.poll() is None
        assert psutil.Process(bystander.pid).is_running()
        assert not (location.data / "postmaster.pid").exists()
    finally:
        bystander.kill()
        bystander.wait()
