"""Versions that need another ComfyUI than the worker has: it is built from what their manifest names, and runs them."""

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from runflow.client import RunFailed, Runflow
from tests.support.e2e_prompts import node, output
from tests.support.model_host import hosting
from tests.support.package_index import build_wheel
from tests.support.platform_fixtures import Platform, installation, new_home, until
from tests.support.repositories import commit_files
from tests.support.upscaler import safetensors

COMFYUI = {"version": "0.30.0"}
FIRST_BUILD_SECONDS = 900.0
"""It installs torch; those after it have the same files."""

PLAIN = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=0), "9": output("1")}

NODE = '''
"""A node whose colour is the version of the package that its pack asks for; it keeps notes beside its code."""
{imports}
from pathlib import Path

import torch

NOTES = Path(__file__).parent / "notes.txt"
NOTES.write_text("imported")


class {name}:
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "make"
    CATEGORY = "test"

    def make(self):
        NOTES.write_text(NOTES.read_text() + " and used")
        assert NOTES.read_text().startswith("imported and used")
        return (torch.full((1, 16, 16, 3), {value} / 255.0),)


NODE_CLASS_MAPPINGS = {{"{name}": {name}}}
'''


@dataclass(frozen=True)
class Bench:
    """An installation whose worker has a bare ComfyUI and builds, with repositories and packages of its own."""

    platform: Platform
    folder: Path
    key: str

    def pack(self, name: str, *, requires: str = "", imports: str = "", value: str = "7", broken: str = "") -> Any:
        """Commit a pack with one node, and return what a manifest says of it."""
        place = self.folder / name
        files = {"__init__.py": NODE.format(name=name.title(), imports=broken or imports, value=value)}
        if requires:
            files["requirements.txt"] = requires
        commit = commit_files(place, files)
        return {name: {"origin": place.as_uri(), "commit": commit, "classes": [name.title()]}}

    def runtime(self, workflow_id: str) -> dict[str, Any]:
        """Return what the server says of a workflow's runtime."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.get(f"{self.platform.url}/v1/comfyui-workflows/{workflow_id}/runtime", headers=headers)
        answer.raise_for_status()
        return dict(answer.json())


def started(comfyui: Path, folder: Path, runtimes: Path, builds: str) -> Iterator[Bench]:
    """Start an installation with packages of two versions."""
    index = folder / "index"
    for version in ("40", "200"):
        build_wheel(index, "shade", version, {"shade/__init__.py": f"level = {version}\n"})
    links = " ".join(filter(None, (os.environ.get("PIP_FIND_LINKS"), str(index))))
    environment = {
        "RUNFLOW_RUNTIME_BUILDS": builds,
        "RUNFLOW_GIT_ORIGINS": folder.as_uri(),
        "RUNFLOW_RUNTIMES": str(runtimes),
        "PIP_FIND_LINKS": links,
    }
    with installation(comfyui, environment=environment) as platform:
        bench = Bench(platform, folder, platform.key())
        with Runflow(platform.url, bench.key) as api:
            first = api.deploy("first", PLAIN)
        # Until then it is offered every run.
        until(lambda: any(one["tells_abilities"] for one in bench.runtime(first["id"])["workers"]), "its abilities")
        yield bench


@pytest.fixture(scope="module")
def runtimes() -> Iterator[Path]:
    """The folder that installations share, as workers of one machine do: torch is installed into it once."""
    folder = new_home()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def bench(comfyui_dir: Path, runtimes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One whose worker builds whatever a version names."""
    yield from started(comfyui_dir, tmp_path_factory.mktemp("repositories"), runtimes, "on")


def shown(pack: str) -> dict[str, Any]:
    """A prompt that shows what a pack's node makes."""
    return {"1": node(pack.title()), "9": output("1")}


def level(run: dict[str, Any]) -> int:
    """Return how light a run's picture is."""
    picture = httpx.get(run["output"]["outputs"][0]["url"], verify=False)
    with Image.open(io.BytesIO(picture.content)) as image:
        pixel = image.convert("RGB").getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return int(pixel[0])


def test_versions_with_packages_that_exclude_each_other_alternate_on_one_worker(bench: Bench) -> None:
    with Runflow(bench.platform.url, bench.key) as api:
        paths = []
        for name, version in (("dark", 40), ("light", 200)):
            packs = bench.pack(name, requires=f"shade=={version}\n", imports="import shade", value="shade.level")
            deployed = api.deploy(name, shown(name), custom_nodes=packs, environment={"comfyui": COMFYUI})
            assert deployed["can_run"] is True, deployed
            paths.append(deployed)
        levels = []
        for one in paths * 3:
            run = api.wait(api.submit(one["path"], {})["id"], timeout=FIRST_BUILD_SECONDS)
            levels.append(level(run))
        assert levels == [40, 200] * 3
        for one in paths:
            (build,) = bench.runtime(one["id"])["builds"]
            assert build["succeeded"] and "Starting ComfyUI" in build["log"], build
        # The last one found it there.
        assert not any("Building the runtime" in str(event) for event in api.events(run["id"]))


def test_two_packs_and_three_models_from_another_machine_run_at_the_first_call(bench: Bench, tmp_path: Path) -> None:
    models = {name: safetensors(name, added=added) for name, added in (("a", 0.1), ("b", 0.2), ("c", 0.0))}
    packs = bench.pack("paint", value="51") | bench.pack("tone", requires="shade\n", imports="import shade", value="90")
    with Runflow(bench.platform.url, bench.key) as api, hosting({f"/{one}": models[one] for one in models}) as host:
        declared = {
            f"upscale_models/{one}.safetensors": {
                "url": f"{host}/{one}",
                "sha256": hashlib.sha256(content).hexdigest(),
            }
            for one, content in models.items()
        }
        prompt = {"1": node("Paint"), "2": node("Tone"), "7": node("ImageBatch", image1=["1", 0], image2=["2", 0])}
        last = "7"
        for at, one in enumerate(models):
            prompt[f"m{at}"] = node("UpscaleModelLoader", model_name=f"{one}.safetensors")
            prompt[f"u{at}"] = node("ImageUpscaleWithModel", upscale_model=[f"m{at}", 0], image=[last, 0])
            last = f"u{at}"
        prompt["9"] = output(last)
        deployed = api.deploy(
            "moved", prompt, custom_nodes=packs, environment={"comfyui": COMFYUI, "packages": []}, models=declared
        )
        assert deployed["can_run"] is True and deployed["warnings"] == [], deployed
        run = api.wait(api.submit(deployed["path"], {})["id"], timeout=FIRST_BUILD_SECONDS)
    pictures = [httpx.get(one["url"], verify=False).content for one in run["output"]["outputs"]]
    found = []
    for content in pictures:
        with Image.open(io.BytesIO(content)) as image:
            found.append((image.size, image.convert("RGB").getpixel((5, 5))))
    # 51 and 90 of 255, with the three tenths that the models add to that, without what is behind the comma.
    assert found == [((128, 128), (128,) * 3), ((128, 128), (166,) * 3)], found


def test_a_pack_that_does_not_work_ends_its_run_with_its_name_and_log(bench: Bench) -> None:
    packs = bench.pack("broken", broken="import a_module_that_nobody_declares")
    with Runflow(bench.platform.url, bench.key) as api:
        deployed = api.deploy("broken", shown("broken"), custom_nodes=packs, environment={"comfyui": COMFYUI})
        with pytest.raises(RunFailed) as failed:
            api.wait(api.submit(deployed["path"], {})["id"], timeout=FIRST_BUILD_SECONDS)
        run = failed.value.run
        assert run["failure_code"] == "RUNTIME_BUILD_FAILED"
        assert "broken" in run["failure_message"] and "a_module_that_nobody_declares" in run["failure_message"]
        assert any("a_module_that_nobody_declares" in str(event) for event in api.events(run["id"]))
        (build,) = bench.runtime(deployed["id"])["builds"]
        assert (build["succeeded"], build["step"], build["pack"]) == (False, "check", "broken")
        # Nobody waits again for what cannot be had, and the worker goes on with what it can do.
        with pytest.raises(RunFailed):
            api.wait(api.submit(deployed["path"], {})["id"], timeout=120)
        plain = api.deploy("plain", PLAIN)
        assert api.wait(api.submit(plain["path"], {})["id"], timeout=300)["status_code"] == "succeeded"


@pytest.fixture
def asking(comfyui_dir: Path, runtimes: Path, tmp_path: Path) -> Iterator[Bench]:
    """One whose worker builds what the operator has approved."""
    yield from started(comfyui_dir, tmp_path, runtimes, "approved")


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
