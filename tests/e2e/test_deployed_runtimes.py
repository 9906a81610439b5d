"""What an author deploys from ComfyUI runs at the first call, as there, on a worker that has nothing of it."""

import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from runflow.client import Runflow
from tests.support.comfyui_client import execute
from tests.support.e2e_prompts import node, output
from tests.support.editor import Editor
from tests.support.git_host import publish
from tests.support.git_repository import git
from tests.support.model_host import hosting
from tests.support.platform_fixtures import until
from tests.support.repositories import commit_files
from tests.support.runtime_bench import COMFYUI, FIRST_BUILD_SECONDS, SHADES, Bench, shown
from tests.support.upscaler import safetensors

PAINT = """
import torch


class Paint:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 1})}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(self, seed):
        return (torch.rand((1, 16, 16, 3), generator=torch.Generator().manual_seed(seed)),)


NODE_CLASS_MAPPINGS = {"Paint": Paint}
"""
TONE = """
import shade


class Tone:
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(self, image):
        return (image * (shade.level / 255.0),)


NODE_CLASS_MAPPINGS = {"Tone": Tone}
"""
ADDED = {"a": 0.1, "b": 0.05, "c": 0.0}
"""What each of the models adds to each colour."""
UPLOADED = "c"
"""The model that only the author's machine has."""


def model(name: str) -> bytes:
    return safetensors(name, added=ADDED[name])


def prompt() -> dict[str, Any]:
    """A picture by both packs, through all models."""
    made = {"1": node("Paint", seed=7), "2": node("Tone", image=["1", 0])}
    last = "2"
    for name in ADDED:
        made[f"m{name}"] = node("UpscaleModelLoader", model_name=f"{name}.safetensors")
        made[f"u{name}"] = node("ImageUpscaleWithModel", upscale_model=[f"m{name}", 0], image=[last, 0])
        last = f"u{name}"
    return {**made, "9": output(last)}


@dataclass
class Author:
    """Somebody with a ComfyUI of their own, with packs from repositories of `bench`, and deploying to its server."""

    bench: Bench
    editor: Editor
    site: Path
    """Python packages that only this ComfyUI has."""
    models: list[dict[str, str]] = field(default_factory=list)
    """What the workflow says of where models come from."""

    def take(self, pack: str, files: dict[str, str]) -> None:
        """Have the newest commit of a pack, which is made of these files."""
        repository, place = self.bench.folder / pack, self.editor.base / "custom_nodes" / pack
        commit_files(repository, files)
        address = publish(self.bench.host, repository)
        if place.exists():
            git(place, "pull", "--quiet", "--ff-only")
        else:
            subprocess.run(["git", "clone", "--quiet", address, str(place)], check=True)

    def take_tone(self, version: str) -> None:
        """Have the pack `tone` and the version of its package that it asks for; ComfyUI is started anew."""
        self.editor.end()
        self.take("tone", {"__init__.py": TONE, "requirements.txt": f"shade=={version}\n"})
        shutil.rmtree(self.site, ignore_errors=True)
        (wheel,) = self.bench.index.glob(f"shade-{version}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        self.editor.start()

    def picture(self) -> bytes:
        """Run the workflow on this machine, and return the file that it makes."""
        (image,) = execute(self.editor.url, prompt()).outputs["9"]["images"]
        place: Path = self.editor.base / "output" / image["subfolder"] / image["filename"]
        return place.read_bytes()

    def deploy(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Press Deploy, agree to everything that is shown, and return that and how it ended."""
        graph = {"nodes": [], "links": [], "models": self.models}
        body = {"endpoint_name": name, "host": self.bench.platform.url, "api_key": self.bench.key}
        with httpx.Client(base_url=self.editor.url, timeout=60) as page:
            answer = page.post("/runflow/deploy/jobs", json={**body, "prompt": prompt(), "graph": graph})
            job = f"/runflow/deploy/jobs/{answer.raise_for_status().json()['id']}"

            def become(*states: str) -> dict[str, Any]:
                def told() -> dict[str, Any] | None:
                    found = dict(page.get(job).raise_for_status().json())
                    assert found["state"] != "failed", found
                    return found if found["state"] in states else None

                return dict(until(told, f"the deployment is {states}"))

            summary = dict(become("ready")["summary"])
            agreed = {"origin": summary["origin"], "approve": True}
            page.post(f"{job}/confirmation", json=agreed).raise_for_status()
            ended = become("choosing", "done")
            if ended["state"] == "choosing":
                paths = [one["path"] for one in ended["offers"]]
                page.post(f"{job}/models", json={"paths": paths}).raise_for_status()
                ended = become("done")
        return summary, dict(ended["result"])


@pytest.fixture
def author(asking: Bench, comfyui_dir: Path, tmp_path: Path) -> Iterator[Author]:
    """One who has both packs and the three models, of which two are at addresses."""
    site = tmp_path / "site"
    made = Author(asking, Editor(comfyui_dir, tmp_path / "editor", environment={"PYTHONPATH": str(site)}), site)
    kind = "upscale_models"
    (made.editor.base / "models" / kind).mkdir()
    for name in ADDED:
        (made.editor.base / "models" / kind / f"{name}.safetensors").write_bytes(model(name))
    with hosting({f"/{name}": model(name) for name in ADDED}) as host:
        for name in ADDED.keys() - {UPLOADED}:
            made.models.append({"name": f"{name}.safetensors", "url": f"{host}/{name}", "directory": kind})
        made.take("paint", {"__init__.py": PAINT})
        yield made
    made.editor.end()


def test_what_is_deployed_from_an_editor_runs_at_the_first_call_as_it_did_there(author: Author, tmp_path: Path) -> None:
    """And then a version whose packages exclude the first one's alternates with it on the one worker."""
    local, paths = [], []
    with Runflow(author.bench.platform.url, author.bench.key) as api:

        def remote(path: str) -> bytes:
            run = api.wait(api.submit(path, {})["id"], timeout=FIRST_BUILD_SECONDS)
            assert run["attempt_count"] == 1
            api.download(run["output"]["outputs"][0], tmp_path / "remote.png")
            return (tmp_path / "remote.png").read_bytes()

        for version in SHADES:
            author.take_tone(version)
            local.append(author.picture())
            summary, deployed = author.deploy(f"From an editor {version}")
            named = [one["name"] for one in summary["approvable"]]
            assert named == (["paint", "tone"] if version == SHADES[0] else ["tone"])
            assert (deployed["can_run"], deployed["warnings"], summary["warnings"]) == (True, [], []), deployed
            assert remote(deployed["path"]) == local[-1]
            paths.append(deployed["path"])
        assert local[0] != local[1]
        assert [remote(path) for path in paths * 2] == local * 2


def test_a_build_waits_for_the_operators_approval(asking: Bench) -> None:
    pack = asking.pack("asking")
    source = pack["asking"]
    with Runflow(asking.platform.url, asking.key) as api:
        deployed = api.deploy("asking", shown("asking"), custom_nodes=pack, environment={"comfyui": COMFYUI})
        assert deployed["can_run"] is False
        assert any(source["origin"] in one["message"] for one in deployed["warnings"])
        run = api.submit(deployed["path"], {})
        until(lambda: "approved" in str(api.get_run(run)["waiting_reason"]), "the reason", 60)
        (waiting,) = [one for one in api.sources() if one["origin"] == source["origin"]]
        assert (waiting["state_code"], waiting["commit"]) == ("waiting", source["commit"])
        api.approve_source(waiting["id"])
        assert api.wait(run["id"], timeout=FIRST_BUILD_SECONDS)["status_code"] == "succeeded"
