"""Which sandbox is used, and whose user ids engines have."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runflow.worker.engine.isolation import landlock
from runflow.worker.engine.isolation.probe import candidates, probe
from runflow.worker.engine.isolation.rungs import FIRST_UID, Rung, Sandbox
from runflow.worker.engine.isolation.view import Runtime


def test_no_engine_gets_the_user_of_one_that_left_a_process() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives engines user ids of their own")
    first = FIRST_UID + 1000  # no worker's
    sandbox = Sandbox(Rung.NAMESPACES, privileged=True, users=first)
    assert [sandbox.next_number(number) for number in range(3)] == [1, 2, 3]
    left = [
        subprocess.Popen(["sleep", "600"], user=sandbox.uid(number), group=first, extra_groups=[], cwd="/")
        for number in (1, 3)
    ]
    try:
        assert sandbox.next_number(0) == 2
        assert sandbox.next_number(2) == 4
        assert sandbox.next_number(15) == 17, "sixteen comes to the same user as one"
        others = [
            subprocess.Popen(["sleep", "600"], user=first + 1 + offset, group=first, extra_groups=[], cwd="/")
            for offset in range(sandbox.count - 1)
        ]
        left += others
        assert sandbox.next_number(0) is None
    finally:
        for process in left:
            process.kill()
            process.wait()


AS_IN_A_CONTAINER = """
import asyncio, ctypes, os, sys
from pathlib import Path
if len(sys.argv) == 2:
    ctypes.CDLL(None).prctl(24, 21, 0, 0, 0)  # no CAP_SYS_ADMIN from the next program on
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:], "again"])
from runflow.worker.engine.isolation.probe import probe
from runflow.worker.engine.isolation.view import Runtime
folder = Path(sys.argv[1])
found = asyncio.run(probe(Runtime(folder / "comfy", Path(sys.executable), folder / "base"), network=False))
print(found.rung.value, found.separates_files, found.why_not_better)
"""


@pytest.mark.skipif(landlock.version() < landlock.SIGNALS_SINCE, reason="Landlock of Linux 6.12 is needed")
def test_in_a_container_without_the_right_to_mount_it_is_landlock(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has rights to lose")
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "main.py").write_text("")
    (tmp_path / "base" / "custom_nodes").mkdir(parents=True)
    command = [sys.executable, "-c", AS_IN_A_CONTAINER, str(tmp_path)]
    environment = {**os.environ, "PATH": str(tmp_path)}  # where there is no bwrap
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "landlock True Namespaces cannot be used: unshare" in said
    assert "CAP_SYS_ADMIN" in said
    assert "install it" in said


def test_who_may_signal_others_separates_no_files() -> None:
    held = Sandbox(Rung.LANDLOCK)
    assert held.separates_files
    assert not Sandbox(Rung.LANDLOCK, signals_others=True).separates_files
    assert any("NOT kept from signals" in line for line in Sandbox(Rung.LANDLOCK, signals_others=True).words())


async def test_before_linux_6_12_a_sandbox_of_the_same_user_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not landlock.version():
        pytest.skip("this kernel has no Landlock")
    monkeypatch.setattr(landlock, "version", lambda: 5)
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "main.py").write_text("")
    (tmp_path / "base" / "custom_nodes").mkdir(parents=True)
    runtime = Runtime(tmp_path / "comfy", Path(sys.executable), tmp_path / "base")
    found = await probe(runtime, network=False, user="same", only=Rung.LANDLOCK)
    assert (found.rung, found.separates_files) == (Rung.LANDLOCK, False)
    assert "Linux 6.12" in (found.why_not_better or "")


def test_an_engine_of_a_named_user_is_held_by_nothing_that_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root has users to give")
    runtime = Runtime(tmp_path, Path(sys.executable), tmp_path)
    named = candidates(runtime, network=False, user=12_345)
    assert {found.users for found in named} == {12_345}
    if landlock.version():
        monkeypatch.setattr(landlock, "version", lambda: 5)
        (shared,) = (found for found in candidates(runtime, network=False, user=12_345) if found.rung is Rung.LANDLOCK)
        assert not shared.separates_files, "before Linux 6.12 one engine could end another's processes"
    rungs = [(found.rung, found.users is not None) for found in candidates(runtime, network=False, user="own")]
    expected = [
        (Rung.NAMESPACES, True),
        (Rung.NAMESPACES, True),
        *([(Rung.BUBBLEWRAP, False)] if shutil.which("bwrap") else []),
        *([(Rung.LANDLOCK, True), (Rung.LANDLOCK, False)] if landlock.version() else []),
    ]
    assert rungs == expected


def test_one_user_for_all_engines_is_used_again() -> None:
    assert Sandbox(Rung.NAMESPACES, privileged=True, users=os.getuid(), count=1).next_number(7) == 8
    assert Sandbox(Rung.NAMESPACES).next_number(0) == 1
