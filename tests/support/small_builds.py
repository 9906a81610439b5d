"""Whole builds in a second: a ComfyUI of a few lines, packs and packages of a few bytes, and everything else real.

As a program it builds one runtime and kills itself at the given moment of that, or says which moments there were:
`python -m … FOLDER FINGERPRINT DIE_AT`. With `evict` in the place of the fingerprint it removes whatever nobody uses.
"""

import asyncio
import atexit
import ensurepip
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from runflow.worker.runtime.build import workshop as workshop_module
from runflow.worker.runtime.build.builder import BuiltRuntime, RuntimeBuilder
from runflow.worker.runtime.build.checking import Candidate, Checked, refuse_missing
from runflow.worker.runtime.build.environments import torch_environment, torch_name
from runflow.worker.runtime.build.manifest import ComfyAsk, PackAsk, RuntimeAsk
from runflow.worker.runtime.build.steps import BuildReport
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.index_settings import Indexes, IndexSettings
from runflow.worker.runtime.sources.mirrors import MayFetch, anything
from tests.support.comfyui_trees import make_repository
from tests.support.package_index import build_wheel
from tests.support.repositories import commit_files
from tests.support.tiny_wheels import make_torch

EVICT = "evict"
ONE, TWO, THREE = (f"rt1-{number * 16}" for number in "123")
TORCH = "2.13.0+cpu"


@cache
def _torch() -> Path:
    """Return the environment that holds a torch, made once for this process."""
    folder = Path(tempfile.mkdtemp(prefix="runflow-torch-", dir=tempfile.gettempdir()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = SmallPlace(folder)
    make_torch(place.index, TORCH)
    for wheel in (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"):
        shutil.copy(wheel, place.index)  # environments are seeded with it, which takes ten times as long without
    log = folder / "log"
    with ThreadPoolExecutor(1) as pool:  # who asks may have a loop of its own
        made = pool.submit(lambda: asyncio.run(torch_environment(place.workshop, BuildReport(log)))).result()
    return made.folder


async def check(candidate: Candidate, ask: RuntimeAsk, report: BuildReport) -> Checked:
    """Look at what a build has made: every class that a pack's file names, if its packages can be imported."""
    found: list[str] = []
    failed: dict[str, str] = {}
    for pack in sorted((candidate.comfyui / "custom_nodes").iterdir()):
        report.note(f"Looking at {pack.name}.")
        code = "import runpy, sys; print(*runpy.run_path(sys.argv[1])['NODE_CLASS_MAPPINGS'])"
        try:
            found += candidate.environment.ask(code, str(pack / "__init__.py")).split()
        except Exception as error:
            failed[pack.name] = str(error)
    refuse_missing(found, ask, failed)
    return Checked(sorted(found), failed)


@dataclass(frozen=True)
class SmallPlace:
    """A folder with repositories, an index in a folder, and a workshop."""

    folder: Path

    @property
    def index(self) -> Path:
        """The wheels that there are."""
        return self.folder / "index"

    @property
    def workshop(self) -> Workshop:
        """What builds share."""
        settings = IndexSettings(no_index=True, find_links=(str(self.index),))
        indexes = Indexes(settings, IndexSettings())
        return Workshop(self.folder / "workshop", indexes, allowed_prefixes=(self.folder.as_uri(),))

    @property
    def builder(self) -> RuntimeBuilder:
        """What builds."""
        return RuntimeBuilder(self.workshop, check)

    def fill(self, copy: Callable[[str, str], object] = os.link) -> "SmallPlace":
        """Make a ComfyUI, a torch, and one package in two versions. `copy`: another one where this is another disk."""
        commits = make_repository(self.folder / "comfyui", "1.2.3", requirements="requests\nsafetensors\n")
        tree = self.folder / "comfyui"
        commits["1.2.3"] = commit_files(tree, {"custom_nodes/example.py.off": "", "comfy/model.py": "x = 1\n" * 100})
        (self.folder / "commit").write_text(commits["1.2.3"])
        make_torch(self.index, TORCH)
        for version in ("1.0", "2.0"):
            self.wheel("shade", version)
        # Every place has the same torch, which takes most of a build to install.
        shutil.copytree(
            _torch(),
            self.workshop.environments.folder / torch_name(self.workshop),
            symlinks=True,
            copy_function=copy,
        )
        return self

    def wheel(self, name: str, version: str, *requires: str) -> Path:
        """Put a package into the index, which says its version."""
        files = {f"{name}/__init__.py": f"version = {version!r}\n"}
        return build_wheel(self.index, name, version, files, requires)

    @property
    def comfyui(self) -> ComfyAsk:
        """The ComfyUI that there is."""
        return ComfyAsk((self.folder / "comfyui").as_uri(), (self.folder / "commit").read_text(), "1.2.3")

    def pack(self, name: str, requirements: str = "", code: str = "") -> PackAsk:
        """Make a pack with the class of its name, at a new commit where it is there already."""
        place = self.folder / "packs" / name
        files = {"__init__.py": f"{code}\nNODE_CLASS_MAPPINGS = {{{name.title()!r}: object}}\n"}
        if requirements:
            files["requirements.txt"] = requirements
        return PackAsk(name, place.as_uri(), commit_files(place, files), (name.title(),))

    def ask(self, *packs: PackAsk, node_types: tuple[str, ...] | None = None) -> RuntimeAsk:
        """Ask for a runtime with packs, and for their classes."""
        classes = tuple(one for pack in packs for one in pack.classes)
        return RuntimeAsk(self.comfyui, packs, {}, classes if node_types is None else node_types)

    async def build(self, fingerprint: str, ask: RuntimeAsk, may_fetch: MayFetch = anything) -> BuiltRuntime:
        """Build a runtime."""
        return await self.builder.ready(fingerprint, ask, may_fetch=may_fetch)


def is_whole(built: BuiltRuntime, ask: RuntimeAsk) -> bool:
    """Tell whether all that was asked for is there, and Python starts in it."""
    packs = {pack.name for pack in ask.packs}
    found = {entry.name for entry in (built.comfyui / "custom_nodes").iterdir() if entry.is_dir()}
    record = built.runtime.record()
    environment = Environment(built.environment, Indexes(IndexSettings(), IndexSettings()), None)
    return (
        packs <= found
        and (built.comfyui / "comfy/model.py").is_file()
        and set(ask.node_types) <= set(record["node_types"])
        and {"torch", "requests"} <= environment.versions("torch", "requests").keys()
    )


MOMENTS = {"open", "fcntl.flock", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.utime", "os.scandir"}
"""What a build does with files that is a moment to die at, beside the beginning of each of its commands."""


class Moments:
    """Counts the moments of this process, by what the build says that it does, and dies at one of them."""

    def __init__(self, die_at: int) -> None:
        self.at: dict[str, list[int]] = {}
        """The first and the last moment of each thing that was said."""
        self._count = 0
        self._doing = "beginning"
        self._die_at = die_at
        self._begin: Any = subprocess.Popen.__init__

    def watch(self) -> None:
        """Look at all that this process does from now on."""
        sys.addaudithook(lambda event, _: self.one() if event in MOMENTS else None)
        subprocess.Popen.__init__ = lambda *given, **more: self._began(*given, **more)  # type: ignore[method-assign]

    def _began(self, *given: Any, **more: Any) -> None:
        """Note a command once it runs: it is then in the middle of what it does."""
        self._begin(*given, **more)
        self.one()

    def say(self, text: str) -> None:
        """Hear what the build says that it does."""
        self._doing = text

    def one(self) -> None:
        """Count a moment."""
        self._count += 1
        self.at.setdefault(self._doing, [self._count, 0])[1] = self._count
        if self._count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(folder: Path, fingerprint: str, moments: Moments) -> None:
    """Build what the folder says of a fingerprint, or evict."""
    if fingerprint == EVICT:
        workshop_module._BUILDING_SECONDS = 0.0
        moments.watch()
        replace(SmallPlace(folder).workshop, most_bytes=1).evict()
        return
    row = orjson.loads((folder / f"{fingerprint}.json").read_bytes())
    place = SmallPlace(folder)
    packs = tuple(PackAsk(one["name"], one["origin"], one["commit"], tuple(one["classes"])) for one in row)
    ask = place.ask(*packs)
    moments.watch()
    await place.builder.ready(fingerprint, ask, tell=moments.say)


if __name__ == "__main__":
    watched = Moments(int(sys.argv[3]))
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], watched))
    print(orjson.dumps(watched.at).decode(), flush=True)
