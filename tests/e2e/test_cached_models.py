"""Caches of libraries: brought from a hub by the worker, and found by the libraries of a ComfyUI without a network."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from runflow.client import RunFailed, Runflow
from tests.support.e2e_prompts import Prompt, node, output
from tests.support.http_server import QuietHandler, serving
from tests.support.platform_fixtures import Platform, installation

pytestmark = pytest.mark.e2e

REPOSITORY, OLD, NEW = "org/colours", "a" * 40, "b" * 40
FILES = {
    f"/{REPOSITORY}/resolve/{OLD}/deep/colour.txt": b"50",
    f"/{REPOSITORY}/resolve/{NEW}/deep/colour.txt": b"200",
    "/checkpoints/colour.safetensors": b"120",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """A hub with one repository, and a host of checkpoints."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            content = FILES[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with serving(Handler) as url:
        yield url


@pytest.fixture(scope="module")
def offline(comfyui_dir: Path, hub: str) -> Iterator[Platform]:
    """An installation whose engines have no network."""
    environment = {"RUNFLOW_HUGGINGFACE_ENDPOINT": hub, "RUNFLOW_ENGINE_NETWORK": "off"}
    with installation(comfyui_dir, environment=environment) as started:
        yield started


@pytest.fixture(scope="module")
def caller(offline: Platform) -> Iterator[Runflow]:
    with Runflow(offline.url, offline.key()) as client:
        yield client


def prompt(repository: str, file: str) -> Prompt:
    return {"2": node("TestCached", repository=repository, file=file), "9": output("2")}


def told(path: str) -> dict[str, Any]:
    content = FILES[path]
    return {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def snapshot(revision: str) -> dict[str, Any]:
    file = {"path": "deep/colour.txt", **told(f"/{REPOSITORY}/resolve/{revision}/deep/colour.txt")}
    repository = {"repo": REPOSITORY, "type": "model", "revision": revision, "refs": ["main"], "files": [file]}
    return {"cached_models": {"huggingface": [repository], "pytorch": []}}


def colour(api: Runflow, path: str) -> int:
    """Run a workflow, and return the red of its picture's first pixel."""
    run = api.wait(api.submit(path, {})["id"], timeout=300)
    picture = httpx.get(run["output"]["outputs"][0]["url"], verify=False)
    with Image.open(io.BytesIO(picture.content)) as image:
        pixel = image.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(pixel[0])


def test_versions_find_their_own_commit_of_a_repository(caller: Runflow) -> None:
    """`main` stands for another commit in each, and the library asks for `main`."""
    paths = []
    for name, revision in (("cached-old", OLD), ("cached-new", NEW)):
        deployed = caller.deploy(name, prompt(REPOSITORY, "deep/colour.txt"), environment=snapshot(revision))
        assert [one for one in deployed["warnings"] if "cache" in one["message"]] == []
        paths.append(deployed["path"])
    assert [colour(caller, path) for path in paths * 2] == [50, 200] * 2


def test_a_checkpoint_of_torch_hub_is_there(caller: Runflow, hub: str) -> None:
    row = {"name": "colour.safetensors", "type": "checkpoint", "url": f"{hub}/checkpoints/colour.safetensors"}
    row |= told("/checkpoints/colour.safetensors")
    environment = {"cached_models": {"huggingface": [], "pytorch": [row]}}
    path = caller.deploy("cached-checkpoint", prompt("", row["name"]), environment=environment)["path"]
    assert colour(caller, path) == 120


def test_without_them_the_library_finds_nothing(caller: Runflow) -> None:
    path = caller.deploy("cached-nothing", prompt("org/other", "colour.txt"))["path"]
    with pytest.raises(RunFailed):
        caller.wait(caller.submit(path, {})["id"], timeout=300)
