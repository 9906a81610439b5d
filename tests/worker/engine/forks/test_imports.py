"""What a fork server imports, and whom it blames for what is left behind: with the outline of a ComfyUI."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runflow.worker.engine import forks

SCRIPTS = Path(forks.__file__).parent.parent
RUNS = f"""
import json, os, sys, tempfile
sys.path[:] = [{str(SCRIPTS / "forks")!r}] + sys.path
import guards
sys.modules["runflow_forks_guards"] = guards
import imports
sys.path.pop(0)
wish = json.loads(sys.argv[1])
sys.path.insert(0, wish["packages"])
with tempfile.TemporaryFile() as file:
    file.write(json.dumps(wish["modules"]).encode())
    file.seek(0)
    parent = imports.Parent(wish)
    try:
        parent.load(file.fileno())
        refused = None
    except imports.Refused as error:
        refused = str(error)
told = dict(complaints=parent.complaints, left=parent.left_for_child, refused=refused)
told["seen"] = [os.environ.get(name) for name in ("SEEN", "PYTORCH_CUDA_ALLOC_CONF", "OMP_NUM_THREADS")]
told["modules"] = sorted(set(wish["modules"]) & set(sys.modules))
print(json.dumps(told))
os._exit(0)
"""
CONNECTS = "import socket\nKEPT = socket.create_server(('127.0.0.1', 0))\n"
SETS = """
import os
os.environ["SEEN"] = os.environ["PYTORCH_CUDA_ALLOC_CONF"]
os.environ["OMP_NUM_THREADS"] = "7"
"""
MAIN = """
import importlib.util, os, sys
import server
for name in sorted(os.listdir("custom_nodes")):
    script = f"custom_nodes/{name}/prestartup_script.py"
    if os.path.exists(script):
        spec = importlib.util.spec_from_file_location("script", script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
def start_comfyui(): pass
def setup_database(): pass
"""
SERVER = """
class PromptServer:
    def __init__(self, loop): self.loop = loop
"""
NODES = """
import asyncio, importlib.util, os
NODE_CLASS_MAPPINGS = {}
async def load_custom_node(path, ignore=(), module_parent="custom_nodes"):
    spec = importlib.util.spec_from_file_location(path, path + "/__init__.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return True
async def init_extra_nodes(init_custom_nodes=True, init_api_nodes=True):
    await load_custom_node("comfy_extras", module_parent="comfy_extras")
    for name in sorted(os.listdir("custom_nodes")):
        await load_custom_node("custom_nodes/" + name)
"""


def imported(folder: Path, **wish: Any) -> dict[str, Any]:
    wish = {
        "arguments": [],
        "load_in_child": [],
        "modules": [],
        "settings": {},
        "base": str(folder),
        "packages": str(folder / "packages"),
        **wish,
    }
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(wish)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text(content)


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    """The outline of a ComfyUI, with one pack that leaves nothing."""
    for name, content in (("main.py", MAIN), ("server.py", SERVER), ("nodes.py", NODES)):
        (tmp_path / name).write_text(content)
    write(tmp_path, comfy="", comfy_extras="")
    (tmp_path / "comfy" / "cli_args.py").write_text("args = None")
    write(tmp_path / "custom_nodes", quiet="")
    return tmp_path


def test_packages_are_watched_one_by_one_from_the_start(tmp_path: Path) -> None:
    write(tmp_path / "packages", calm="", connects=CONNECTS, broken="raise SystemExit(3)", last="")
    names = ["calm", "connects", "broken", "no_such_thing", "last"]
    told = imported(tmp_path, level=0, modules=names)
    assert list(told["complaints"]) == ["connects"]
    assert "an open connection" in told["complaints"]["connects"][0]
    told = imported(tmp_path, level=0, modules=names, load_in_child=["connects"])
    assert (told["complaints"], told["refused"]) == ({}, None)
    assert told["modules"] == ["calm", "last"]


def test_packages_are_imported_with_the_settings_of_a_boot_and_engines_make_them_anew(tmp_path: Path) -> None:
    write(tmp_path / "packages", torch=SETS)
    (tmp_path / "packages/torch/cuda.py").write_text("def is_initialized(): return False")
    settings = {"PYTORCH_CUDA_ALLOC_CONF": "backend:cudaMallocAsync"}
    told = imported(tmp_path, level=0, modules=["torch", "torch.cuda"], settings=settings)
    assert told["seen"] == ["backend:cudaMallocAsync", None, os.environ.get("OMP_NUM_THREADS")]
    assert told["refused"] is None


def test_a_cuda_context_or_a_thread_is_never_forked(tmp_path: Path) -> None:
    write(tmp_path / "packages", torch="from . import cuda")
    (tmp_path / "packages/torch/cuda.py").write_text("def is_initialized(): return True")
    told = imported(tmp_path, level=0, modules=["torch"])
    assert told["complaints"] == {"torch": ["a CUDA context"]}
    # What was begun before anybody looked is no package's fault, and all the same the end of it.
    before = "import sys, types; sys.modules['torch'] = types.SimpleNamespace(cuda=types.SimpleNamespace("
    (tmp_path / "packages" / "sitecustomize.py").write_text(before + "is_initialized=lambda: True))")
    os.environ["PYTHONPATH"] = str(tmp_path / "packages")
    try:
        assert "a CUDA context" in imported(tmp_path, level=0, modules=["json"])["refused"]
    finally:
        del os.environ["PYTHONPATH"]


def test_no_pack_is_blamed_for_what_comfyui_s_own_nodes_leave(comfyui: Path) -> None:
    write(comfyui, comfy_extras=CONNECTS)
    told = imported(comfyui, level=3)
    assert (told["complaints"], told["refused"]) == ({}, None)


def test_a_script_that_comes_before_a_pack_is_watched_and_left_to_the_child(comfyui: Path) -> None:
    (comfyui / "custom_nodes/quiet/prestartup_script.py").write_text(CONNECTS)
    told = imported(comfyui, level=3)
    assert list(told["complaints"]) == ["quiet"]
    told = imported(comfyui, level=3, load_in_child=["quiet"])
    assert (told["complaints"], told["left"]) == ({}, ["custom_nodes/quiet"])


def test_work_that_a_pack_leaves_is_that_pack_s(comfyui: Path) -> None:
    waits = "import asyncio\nKEPT = asyncio.get_event_loop().create_task(asyncio.sleep(1000), name='its work')\n"
    write(comfyui / "custom_nodes", also=waits)
    told = imported(comfyui, level=3)
    assert told["complaints"] == {"also": ["work that waits (its work)"]}
    assert imported(comfyui, level=3, load_in_child=["also"])["refused"] is None
    write(comfyui, comfy_extras=waits)
    assert "ComfyUI left work behind" in imported(comfyui, level=3, load_in_child=["also"])["refused"]
