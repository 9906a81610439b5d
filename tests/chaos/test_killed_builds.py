"""Builders of runtimes that are killed at every stage: what they leave is no obstacle, nothing half is ever found."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
import psutil
import pytest

from runflow.worker.runtime.build.manifest import RuntimeAsk
from tests.support.platform_fixtures import until
from tests.support.repositories import commit_files
from tests.support.small_builds import EVICT, ONE, SmallPlace, is_whole
from tests.support.source import ROOT

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

STAGES = {
    "sources": ("beginning", "Fetching"),
    "torch": ("Looking for the torch", "Making a Python"),
    "packages": ("Finding one set", "Building"),
    "environment": ("Installing",),
    "check": ("Starting ComfyUI",),
}
"""What a build says of each of its stages, by how that begins."""
RANDOM_KILLS = 6
BACKEND = """
import pathlib, zipfile
def build_wheel(folder, settings=None, metadata=None):
    name = "tint-3.1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.writestr("tint.py", "value = 9\\n")
        wheel.writestr("tint-3.1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tint\\nVersion: 3.1\\n")
        wheel.writestr("tint-3.1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tint-3.1.dist-info/RECORD", "")
    return name
"""


class Yard:
    """A place where one runtime is built again and again, by processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.place = SmallPlace(folder).fill()
        source = folder / "packs/tint"
        project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        commit_files(source, {"pyproject.toml": project, "backend.py": BACKEND})
        needs = f"shade==1.0\ntint @ git+{source.as_uri()}\n"
        self.ask: RuntimeAsk = self.place.ask(self.place.pack("alpha", needs, code="import shade, tint"))
        (folder / f"{ONE}.json").write_bytes(orjson.dumps([asdict(one) for one in self.ask.packs]))
        self.scratch = folder / "tmp"
        self.scratch.mkdir()

    def start(self, die_at: int = 0, what: str = ONE) -> "subprocess.Popen[str]":
        """Begin to build, or to evict, in a process that dies at this moment."""
        command = [sys.executable, "-m", "tests.support.small_builds", str(self.place.folder), what, str(die_at)]
        environment = {**os.environ, "TMPDIR": str(self.scratch)}
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    def dies(self, at: int) -> bool:
        """Build in a process that dies at this moment; tell whether it did: another build may have fewer of them."""
        code, _ = ended(self.start(at))
        assert code in (0, -signal.SIGKILL)
        return code != 0

    def build(self, what: str = ONE) -> dict[str, list[int]]:
        """Build, or evict, to the end, and return the moments of what was done."""
        code, said = ended(self.start(what=what))
        assert code == 0
        moments: dict[str, list[int]] = orjson.loads(said)
        return moments

    def forget(self, *, torch: bool = False) -> None:
        """Remove all that was made, but for torch's environment unless that, too, is to be made again."""
        workshop = self.place.workshop
        for folder in workshop.folder.iterdir():
            if folder != workshop.environments.folder:
                shutil.rmtree(folder)
        for entry in workshop.environments.folder.iterdir():
            if torch or not entry.name.startswith("torch-"):
                shutil.rmtree(entry)

    def look(self) -> None:
        """See that what is found is whole, and that nobody works on who belongs to a killed one."""
        runtime = self.place.workshop.runtimes.find(ONE)
        assert runtime is None or is_whole(self.place.builder.found(runtime, self.ask), self.ask)
        until(lambda: not self._left_over(), "the commands of a killed builder end", 60)

    def _left_over(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            words = " ".join(process.cmdline()) if process.pid != os.getpid() else ""
            if str(self.place.workshop.folder) in words:
                found.append(process)
        return found

    def finish(self) -> None:
        """Build once more to the end, and see that it is whole and that nothing else is left."""
        self.build()
        workshop = self.place.workshop
        runtime = workshop.runtimes.find(ONE)
        assert runtime is not None and is_whole(self.place.builder.found(runtime, self.ask), self.ask)
        workshop.evict()
        assert names(workshop.runtimes.folder) == [".locks", ONE]
        record = runtime.record()
        assert names(workshop.environments.folder) == [".locks", record["environment"], record["torch"]]
        assert names(workshop.environments.folder / record["torch"]) == ["build.json", "venv"]
        assert all(name == ".locks" or name.startswith("tree-") for name in names(workshop.trees.folder))
        (wheel,) = (name for name in names(workshop.wheels.folder) if name != ".locks")
        assert names(workshop.wheels.folder / wheel) == ["build.json", "built"]
        assert all(name.endswith((".git", ".lock", ".use")) for name in names(workshop.mirrors.folder))
        assert not [path for path in workshop.mirrors.folder.rglob("*") if "tmp_" in path.name]
        assert all(path.stat().st_nlink > 1 for path in workshop.bytecode.rglob("*") if path.is_file())
        assert names(self.scratch) == []


def names(folder: Path) -> list[str]:
    """Return what a folder has."""
    return sorted(entry.name for entry in folder.iterdir())


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return how a process ended, and what it said."""
    said, _ = process.communicate(timeout=240)
    return process.returncode, said


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """A place whose folder any user may enter; uv's cache is its own."""
    folder = tmp_path_factory.mktemp("yard")
    for above in (folder, *folder.parents[:2]):
        above.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
            patch.delenv(name)
        patch.setenv("UV_CACHE_DIR", str(folder / "cache"))
        yield Yard(folder)


def moments_of(stage: str, of: dict[str, list[int]]) -> list[int]:
    """Return moments of a stage to die at: its first and last, and one in the middle of each thing that it does."""
    things = [tuple(found) for said, found in of.items() if said.startswith(STAGES[stage])]
    assert things, of
    middles = {(first + last) // 2 for first, last in things}
    return sorted({things[0][0], things[-1][1], *middles})


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_in_each_stage_leaves_nothing_half(yard: Yard, stage: str) -> None:
    is_first = stage == "torch"
    yard.forget(torch=is_first)
    killed = []
    for at in moments_of(stage, yard.build()):
        yard.forget(torch=is_first)
        killed.append(yard.dies(at))
        yard.look()
        yard.finish()
    assert killed[0] and sum(killed) > 1


def test_who_builds_the_same_meanwhile_goes_on_when_one_is_killed(yard: Yard) -> None:
    """At random moments; one of them waits for the other, or makes what it was about to make."""
    chosen = random.Random(12)
    yard.forget()
    last = max(end for _, end in yard.build().values())
    for _ in range(RANDOM_KILLS):
        yard.forget()
        victim, other = yard.start(die_at=chosen.randrange(1, last)), yard.start()
        # Where the other one has built most of it, there may be no such moment.
        assert ended(victim)[0] in (0, -signal.SIGKILL)
        assert ended(other)[0] == 0
        yard.look()
        yard.finish()


def test_kills_of_one_after_another_are_no_obstacle(yard: Yard) -> None:
    """What one has left is what the next one begins with."""
    chosen = random.Random(21)
    yard.forget()
    last = max(end for _, end in yard.build().values())
    yard.forget()
    killed = 0
    for _ in range(RANDOM_KILLS):
        code, _ = ended(yard.start(die_at=chosen.randrange(1, last)))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        yard.look()
    assert killed >= RANDOM_KILLS // 2
    yard.finish()


def test_a_kill_while_all_is_evicted_leaves_nothing_half(yard: Yard) -> None:
    """What is left of a removal is found by nobody, and the next build or removal clears it away."""
    chosen = random.Random(34)
    yard.forget()
    yard.build()
    last = max(end for _, end in yard.build(EVICT).values())
    assert yard.place.workshop.runtimes.find(ONE) is None, "nobody used it"
    killed = 0
    for _ in range(RANDOM_KILLS):
        yard.build()
        code, _ = ended(yard.start(chosen.randrange(1, last), EVICT))
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        yard.look()
    assert killed >= RANDOM_KILLS // 2
    yard.finish()
