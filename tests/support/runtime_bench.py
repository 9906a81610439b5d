"""Installations whose worker has a bare ComfyUI and builds runtimes, with repositories and packages of their own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from runflow.client import Runflow
from tests.support.e2e_prompts import node, output
from tests.support.git_host import hosting_repositories
from tests.support.package_index import build_wheel
from tests.support.platform_fixtures import Platform, installation, until
from tests.support.repositories import commit_files

COMFYUI = {"version": "0.30.0"}
FIRST_BUILD_SECONDS = 900.0
"""It installs torch; those after it have the same files."""

PLAIN = {"1": node("EmptyImage", width=8, height=8, batch_size=1, color=0), "9": output("1")}
SHADES = ("40", "200")
"""The versions that there are of the package `shade`, whose `level` is that of the version."""

INSTALLER_SAYS = "an installer of a pack ran"
"""What is said where anybody runs the `install.py` of a pack of `Bench`."""

_NODE = '''
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
    """An installation whose worker builds. `folder` has the repositories, which `host` serves by HTTP as well."""

    platform: Platform
    folder: Path
    host: str
    key: str

    @property
    def index(self) -> Path:
        """The folder of wheels that its worker installs from, beside the machine's own index."""
        return self.folder / "index"

    def pack(self, name: str, *, requires: str = "", imports: str = "", value: str = "7", **more: Any) -> Any:
        """Commit a pack with one node, and return what a manifest says of it; `more`: of `commit_files`."""
        place = self.folder / name
        node_file = _NODE.format(name=name.title(), imports=imports, value=value)
        files = {"__init__.py": node_file, "install.py": f"raise SystemExit({INSTALLER_SAYS!r})\n"}
        if requires:
            files["requirements.txt"] = requires
        commit = commit_files(place, files, **more)
        return {name: {"origin": place.as_uri(), "commit": commit, "classes": [name.title()]}}

    def runtime(self, workflow_id: str) -> dict[str, Any]:
        """Return what the server says of a workflow's runtime."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.get(f"{self.platform.url}/v1/comfyui-workflows/{workflow_id}/runtime", headers=headers)
        answer.raise_for_status()
        return dict(answer.json())


@contextmanager
def building(comfyui: Path, folder: Path, runtimes: Path, builds: str) -> Iterator[Bench]:
    """Start an installation whose `RUNFLOW_RUNTIME_BUILDS` is `builds`, with `folder` for what it builds from."""
    index = folder / "index"
    for version in SHADES:
        build_wheel(index, "shade", version, {"shade/__init__.py": f"level = {version}\n"})
    links = " ".join(filter(None, (os.environ.get("PIP_FIND_LINKS"), str(index))))
    with hosting_repositories(folder) as host:
        environment = {
            "RUNFLOW_RUNTIME_BUILDS": builds,
            "RUNFLOW_GIT_ORIGINS": f"{folder.as_uri()},{host}/",
            "RUNFLOW_RUNTIMES": str(runtimes),
            "RUNFLOW_ACCEPT_MODELS": "true",
            "PIP_FIND_LINKS": links,
        }
        with installation(comfyui, environment=environment) as platform:
            bench = Bench(platform, folder, host, platform.key())
            with Runflow(platform.url, bench.key) as api:
                first = api.deploy("first", PLAIN)
            # Until then it is offered every run.
            until(lambda: any(one["tells_abilities"] for one in bench.runtime(first["id"])["workers"]), "its abilities")
            yield bench


def shown(pack: str) -> dict[str, Any]:
    """Return a prompt that shows what the node of a pack of `Bench` makes."""
    return {"1": node(pack.title()), "9": output("1")}
