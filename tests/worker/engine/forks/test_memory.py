"""What is remembered of forks: found by every home of this ComfyUI, never planted, and gone when anything changes."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from runflow.worker.engine.forks.memory import ForkMemory, Remembered, cache_folder, identity
from runflow.worker.engine.isolation.view import Runtime

KEY = "a" * 64
PROVEN = Remembered(
    KEY, 3, ("Pack",), ("KSampler",), ("torch", "numpy.linalg"), {"CUDA_VISIBLE_DEVICES": "0"}, None, 1.0
)


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """The outline of a ComfyUI with a pack, and a base folder that the pack is linked to."""
    comfyui = tmp_path / "comfyui"
    for name in (
        "comfy/model_management.py",
        "custom_nodes/pack/deep/nodes.py",
        "models/x.py",
        ".venv/lib/python3.11/site-packages/torch-2.0.dist-info/RECORD",
        ".venv/bin/python",
        "main.py",
    ):
        (comfyui / name).parent.mkdir(parents=True, exist_ok=True)
        (comfyui / name).write_text("")
    return linked(Runtime(comfyui, comfyui / ".venv/bin/python", tmp_path / "base"))


def linked(runtime: Runtime) -> Runtime:
    nodes = runtime.base_dir / "custom_nodes"
    nodes.mkdir(parents=True)
    (nodes / "pack").symlink_to(runtime.comfy_dir / "custom_nodes/pack")
    return runtime


def arguments(runtime: Runtime) -> list[str]:
    return ["--base-directory", str(runtime.base_dir), "--cpu"]


def test_every_home_of_a_comfyui_has_the_same_identity(runtime: Runtime, tmp_path: Path) -> None:
    other = linked(replace(runtime, base_dir=tmp_path / "elsewhere"))
    assert identity(runtime, arguments(runtime)) == identity(other, arguments(other))
    assert identity(runtime, arguments(runtime)[:-1]) != identity(runtime, arguments(runtime))


@pytest.mark.parametrize(
    "changed",
    [
        "comfy/model_management.py",
        "custom_nodes/pack/deep/nodes.py",
        "custom_nodes/pack/deep/more.py",
        ".git/logs/HEAD",
        "custom_nodes/pack/.git/logs/HEAD",
        ".venv/lib/python3.11/site-packages/numpy-2.0.dist-info/RECORD",
        ".venv/lib/python3.11/site-packages/more.pth",
        ".venv/bin/python",
    ],
)
def test_whatever_changes_gives_another_identity(runtime: Runtime, changed: str) -> None:
    before = identity(runtime, arguments(runtime))
    place = runtime.comfy_dir / changed
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("x = 1")
    assert identity(runtime, arguments(runtime)) != before


def test_a_pack_that_goes_or_moves_gives_another_identity(runtime: Runtime) -> None:
    before = identity(runtime, arguments(runtime))
    place = runtime.base_dir / "custom_nodes/pack"
    place.unlink()
    gone = identity(runtime, arguments(runtime))
    place.mkdir()
    assert len({before, gone, identity(runtime, arguments(runtime))}) == 3


def test_what_runs_leave_changes_nothing(runtime: Runtime) -> None:
    before = identity(runtime, arguments(runtime))
    for name in (
        "models/y.py",
        "output/z.py",
        "custom_nodes/pack/__pycache__/nodes.pyc",
        ".venv/lib/python3.11/site-packages/__pycache__/six.pyc",
        "custom_nodes/pack/kept.json",
    ):
        (runtime.comfy_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (runtime.comfy_dir / name).write_text("")
    assert identity(runtime, arguments(runtime)) == before


def test_a_proof_is_kept_and_forgotten(tmp_path: Path) -> None:
    memory = ForkMemory(None, tmp_path / "cache" / "forks")
    assert memory.read(KEY) is None
    memory.write(PROVEN)
    assert memory.read(KEY) == PROVEN
    assert (tmp_path / "cache" / "forks").stat().st_mode & 0o777 == 0o700
    assert memory.read("b" * 64) is None
    for number in range(40):
        memory.write(replace(PROVEN, identity=f"{number:064}"))
    assert len(list((tmp_path / "cache" / "forks").iterdir())) == 32
    memory.write(PROVEN)
    memory.forget(KEY)
    assert memory.read(KEY) is None


def test_nobody_else_can_plant_a_proof(tmp_path: Path) -> None:
    folder, own = tmp_path / "forks", tmp_path / "own"
    ForkMemory(folder).write(PROVEN)
    (proof,) = folder.iterdir()
    proof.chmod(0o666)
    assert ForkMemory(folder).read(KEY) is None
    proof.rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").chmod(0o600)
    proof.symlink_to(tmp_path / "elsewhere")
    assert ForkMemory(folder).read(KEY) is None
    proof.unlink()
    os.mkfifo(proof, 0o600)
    assert ForkMemory(folder).read(KEY) is None

    # A folder that others can write to is none of ours, and neither is a link: what is found out goes elsewhere.
    folder.chmod(0o777)
    ForkMemory(folder, own).write(PROVEN)
    assert [file.name for file in own.iterdir()] == [f"{KEY}.json"]
    (tmp_path / "link").symlink_to(own)
    assert ForkMemory(tmp_path / "link").read(KEY) is None
    if os.geteuid() == 0:
        os.chown(own, 12345, 12345)
        assert ForkMemory(own).read(KEY) is None


def test_what_is_no_proof_is_none(tmp_path: Path) -> None:
    memory = ForkMemory(tmp_path / "forks")
    memory.write(PROVEN)
    for content in (b"", b"[]", b'{"identity": 1}', b"\xff"):
        (tmp_path / "forks" / f"{KEY}.json").write_bytes(content)
        assert memory.read(KEY) is None


def test_nothing_but_what_a_boot_could_have_told_is_read(tmp_path: Path) -> None:
    memory = ForkMemory(tmp_path / "forks")
    planted = {"LD_PRELOAD": "/tmp/x.so", "PYTORCH_ALLOC_CONF": "x" * 300_000, "CUDA_VISIBLE_DEVICES": "0\0"}
    memory.write(replace(PROVEN, settings=planted, modules=("torch", "os; x", "y" * 300_000)))
    assert memory.read(KEY) == replace(PROVEN, settings={}, modules=("torch",))


def test_a_lower_level_is_tried_again_after_a_week() -> None:
    assert PROVEN.is_proven
    lower = replace(PROVEN, level=0, why_lower="A pack computes.")
    assert not lower.is_proven
    assert replace(lower, proven_at=time.time()).is_proven
    assert not replace(lower, proven_at=time.time() + 86_400).is_proven
    assert not Remembered(KEY).is_proven


def test_it_lies_in_the_cache_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cache_folder() == tmp_path / "runflow/forks"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache/runflow/forks"
    # As a user id that no list of users knows.
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    assert cache_folder() is None
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cache_folder() == Path("/var/cache/runflow/forks")
