"""Node packs that do at import what a fork does not survive, in a real ComfyUI: what becomes of them."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from runflow.worker.engine.base import EngineCrashed
from runflow.worker.engine.boot import OwnedSettings
from runflow.worker.engine.execution import Outcome
from runflow.worker.engine.home import EngineHome
from runflow.worker.engine.isolation.rungs import Rung
from runflow.worker.engine.owned import OwnedEngine

pytestmark = pytest.mark.e2e

SAYS = """
class {name}:
    CATEGORY = "test"
    FUNCTION = "say"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{"seed": ("INT", {{"default": 0}})}}}}

    def say(self, seed):
        return {{"ui": {{"text": [str(value) for value in told()]}}}}


NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
"""
THREAD = """
import threading, time
ALIVE = []
def work():
    while True:
        ALIVE.append(1)
        time.sleep(0.01)
threading.Thread(target=work, daemon=True).start()
def told():
    before = len(ALIVE)
    time.sleep(0.2)
    return [len(ALIVE) > before]
"""
CONNECTION = """
import os, socket
KEPT = socket.create_server(("127.0.0.1", 0))
IMPORTED_BY = os.getpid()
def told():
    return [IMPORTED_BY == os.getpid()]
"""
SHARED = """
import mmap, os
KEPT = mmap.mmap(-1, 4096)
IMPORTED_BY = os.getpid()
def told():
    return [IMPORTED_BY == os.getpid()]
"""
SETTINGS = """
import gc, os, random, subprocess, sys
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MY_PACK"] = "kept"
INSTALLED = subprocess.run([sys.executable, "-m", "pip", "install", "runflow-no-such-thing"]).returncode
def told():
    return [os.environ.get("OMP_NUM_THREADS"), os.environ.get("MY_PACK"), INSTALLED, gc.isenabled(), random.random()]
"""
PENDING = """
import asyncio, os
IMPORTED_BY = os.getpid()
async def work():
    await asyncio.Event().wait()
KEPT = asyncio.get_event_loop().create_task(work())
def told():
    return [IMPORTED_BY == os.getpid()]
"""
PRESTARTUP = """
import os, socket, sys
KEPT = socket.create_server(("127.0.0.1", 0))
sys.runflow_test = (os.getpid(), KEPT)
"""
AFTER_PRESTARTUP = """
import os, sys
IMPORTED_BY = os.getpid()
def told():
    return [IMPORTED_BY == os.getpid(), sys.runflow_test[0] == os.getpid(), sys.runflow_test[1].getsockname()[1] > 0]
"""
NOTES = """
import os
PLACE = os.path.join(os.path.dirname(__file__), "notes", "notes.txt")
open(PLACE, "w").write("imported ")
def told():
    open(PLACE, "a").write("used ")
    open(PLACE + ".new", "w").close()
    return [open(PLACE).read()]
"""
COMPUTES = """
import torch
TOTAL = float((torch.ones(1500, 1500) @ torch.ones(1500, 1500)).sum())
def told():
    return [TOTAL > 0]
"""


RESTARTS = """
import os, sys
def told():
    os.execv(sys.executable, [sys.executable, *sys.argv])
"""


def write_pack(base: Path, name: str, code: str) -> None:
    folder = base / "custom_nodes" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(code + SAYS.format(name=name))


async def told(engine: OwnedEngine, name: str) -> list[str]:
    """Return what a pack's node says."""
    import uuid

    prompt: dict[str, Any] = {"1": {"class_type": name, "inputs": {"seed": 1}}}
    execution = await engine.execute(prompt, str(uuid.uuid4()))
    assert execution.outcome is Outcome.SUCCEEDED, execution.error
    return list(execution.outputs["1"]["text"])


@pytest.fixture
async def home(comfyui_dir: Path, tmp_path: Path) -> AsyncIterator[EngineHome]:
    settings = OwnedSettings(comfyui_dir, tmp_path / "base", enclosed=True, network=False, proofs=tmp_path / "proofs")
    found = EngineHome(settings)
    await found.open()
    try:
        if found.sandbox.rung is not Rung.NAMESPACES:
            pytest.skip(f"engines are forked in namespaces: {found.sandbox.why_not_better}")
        yield found
    finally:
        await found.close()


async def started(home: EngineHome) -> OwnedEngine:
    engine = OwnedEngine(home.settings, home)
    await engine.start()
    return engine


async def test_a_node_that_starts_its_comfyui_anew_ends_its_engine_and_says_so(home: EngineHome) -> None:
    write_pack(home.base_dir, "Restarts", RESTARTS)
    ended = await started(home)
    try:
        with pytest.raises(EngineCrashed, match="restarted ComfyUI") as crash:
            await told(ended, "Restarts")
        assert not crash.value.again
    finally:
        await ended.stop()
    await home.settled()
    assert home.can_fork, home.forks.why_not_better
    forked = await started(home)
    try:
        with pytest.raises(EngineCrashed, match="restarted ComfyUI"):
            await told(forked, "Restarts")
    finally:
        await forked.stop()


async def test_packs_are_forked_or_loaded_by_each_engine_and_none_is_lost(home: EngineHome) -> None:
    packs = {
        "KeepsThread": THREAD,
        "KeepsConnection": CONNECTION,
        "SharesMemory": SHARED,
        "ChangesSettings": SETTINGS,
        "LeavesWork": PENDING,
        "ConnectsBefore": AFTER_PRESTARTUP,
    }
    for name, code in packs.items():
        write_pack(home.base_dir, name, code)
    (home.base_dir / "custom_nodes" / "ConnectsBefore" / "prestartup_script.py").write_text(PRESTARTUP)
    booted = await started(home)
    try:
        before = booted.quick
        await home.settled()
        assert (before, booted.quick) == (False, True), home.forks.why_not_better
    finally:
        await booted.stop()
    one, other = await asyncio.gather(started(home), started(home))
    try:
        description = await one.describe()
        assert set(packs) <= description.node_types
        assert description.sandbox is not None
        assert description.sandbox.fork_level == 3
        assert await told(one, "KeepsThread") == ["True"]
        # Each engine imported these itself.
        assert await told(one, "KeepsConnection") == ["True"]
        assert await told(one, "SharesMemory") == ["True"]
        assert await told(one, "LeavesWork") == ["True"]
        assert await told(one, "ConnectsBefore") == ["True", "True", "True"]
        threads, own, installed, collects, number = await told(one, "ChangesSettings")
        assert (threads, own, collects) == ("None", "kept", "True")
        assert installed != "0"
        assert number != (await told(other, "ChangesSettings"))[4]
    finally:
        await one.stop()
        await other.stop()
    (proof,) = (home.base_dir.parent / "proofs").iterdir()
    left = orjson.loads(proof.read_bytes())["load_in_child"]
    assert left == ["ConnectsBefore", "KeepsConnection", "LeavesWork", "SharesMemory"]


async def test_a_pack_that_computes_is_loaded_by_each_engine(home: EngineHome) -> None:
    write_pack(home.base_dir, "Computes", COMPUTES)
    engine = await started(home)
    try:
        await home.settled()
        assert engine.quick, home.forks.why_not_better
        if home.forks.level == 0:  # some builds of torch survive it
            assert "cannot compute" in (home.forks.why_not_better or "")
        again = await started(home)
        try:
            assert await told(again, "Computes") == ["True"]
        finally:
            await again.stop()
    finally:
        await engine.stop()


async def test_a_pack_keeps_notes_in_its_own_folder_and_each_engine_its_own(comfyui_dir: Path, tmp_path: Path) -> None:
    comfyui = tmp_path / "comfyui"
    skipped = {".venv", "venv", ".git", "models", "user", "input", "output", "temp", "custom_nodes"}
    shutil.copytree(
        comfyui_dir,
        comfyui,
        ignore=lambda place, names: skipped & {*names} if place == str(comfyui_dir) else (),
        symlinks=True,
    )
    write_pack(comfyui, "KeepsNotes", NOTES)
    (comfyui / "custom_nodes" / "KeepsNotes" / "notes").mkdir()
    python = comfyui_dir / ".venv" / "bin" / "python"
    settings = OwnedSettings(comfyui, tmp_path / "base", python=python, enclosed=True, network=False)
    home = EngineHome(settings)
    await home.open()
    try:
        if home.sandbox.rung is not Rung.NAMESPACES or not home.sandbox.layered:
            pytest.skip(f"engines are forked in namespaces: {home.sandbox.why_not_better}")
        booted = await started(home)
        try:
            assert await told(booted, "KeepsNotes") == ["imported used "]
            await home.settled()
        finally:
            await booted.stop()
        for _ in range(2):
            forked = await started(home)
            try:
                assert (forked.quick, await told(forked, "KeepsNotes")) == (True, ["imported used "])
            finally:
                await forked.stop()
    finally:
        await home.close()
    assert list((comfyui / "custom_nodes" / "KeepsNotes" / "notes").iterdir()) == []
