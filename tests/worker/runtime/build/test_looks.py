"""Looks at runtimes in a real ComfyUI: what a fork finds, what it can reach, and what a boot has to say."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from runflow.worker.runtime.build import looks as looks_module
from runflow.worker.runtime.build.checking import Candidate, Checked, ClassesMissing, boot_runtime
from runflow.worker.runtime.build.environments import environment_in
from runflow.worker.runtime.build.folder import RECORD, RuntimeInUse
from runflow.worker.runtime.build.looks import Looks
from runflow.worker.runtime.build.manifest import ComfyAsk, PackAsk, RuntimeAsk
from runflow.worker.runtime.build.steps import BuildReport
from runflow.worker.runtime.build.workshop import Workshop

pytestmark = pytest.mark.e2e

TREE, ENVIRONMENT = "tree-of-tests", "packages-of-tests"
PACK = """
{code}

class Node:
    @classmethod
    def INPUT_TYPES(cls):
        return {{"required": {{}}}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "make", "test"

    def make(self):
        return (1,)

NODE_CLASS_MAPPINGS = {{name: Node for name in {names}}}
"""
WRITES = """
import folder_paths, os
open(os.path.join(os.path.dirname(__file__), "written.json"), "w").write("{}")
assert os.path.isdir(os.path.join(folder_paths.get_folder_paths("custom_nodes")[0], "alpha"))
"""
LOOKS_AROUND = """
import os, socket, folder_paths
found = ["Beta"]
for root in ("/run/runflow", "/tmp", folder_paths.get_folder_paths("custom_nodes")[0]):
    for place, folders, files in os.walk(root, followlinks=True):
        found += [f"Found {place}/{name}" for name in (*folders, *files) if name in ("alpha", "lives")]
if len([name for name in os.listdir("/proc") if name.isdigit()]) > 2:
    found.append("Found processes")
if os.environ.get("RUNFLOW_WORKER_TOKEN"):
    found.append("Found the token")
try:
    socket.create_connection(("1.1.1.1", 53), timeout=0.5)
    found.append("Found a network")
except OSError:
    pass
try:
    open(os.path.join(os.getcwd(), "custom_nodes/beta/__init__.py"), "a").write("# changed")
except OSError:
    pass
"""


@pytest.fixture
def workshop(comfyui_dir: Path, tmp_path: Path) -> Workshop:
    """A workshop with one ComfyUI and one environment, which are those that the tests run on."""
    made = Workshop(tmp_path / "workshop")
    tree = made.trees.folder / TREE
    environment = made.environments.folder / ENVIRONMENT
    for folder in (tree, environment):
        folder.mkdir(parents=True)
        (folder / RECORD).write_text("{}")
    skipped = {".venv", "venv", ".git", "models", "user", "input", "output", "temp"}
    shutil.copytree(
        comfyui_dir,
        tree / "comfyui",
        ignore=lambda place, names: skipped & {*names} if place == str(comfyui_dir) else (),
        symlinks=True,
    )
    for left in (tree / "comfyui" / "custom_nodes").iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    (environment / "venv").symlink_to(comfyui_dir / ".venv")
    return made


@pytest.fixture
async def looks(workshop: Workshop) -> AsyncIterator[Looks]:
    """What looks at runtimes."""
    made = Looks(workshop)
    yield made
    await made.close()


@pytest.fixture
def booted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packs of what was booted to be looked at."""
    found: list[str] = []

    async def noted(candidate: Candidate, ask: RuntimeAsk, report: BuildReport) -> Checked:
        found.extend(pack.name for pack in ask.packs)
        return await boot_runtime(candidate, ask, report)

    monkeypatch.setattr(looks_module, "boot_runtime", noted)
    return found


def candidate_with(workshop: Workshop, name: str, code: str, names: str) -> tuple[Candidate, RuntimeAsk]:
    """Make a runtime of this ComfyUI with one pack."""
    tree = workshop.trees.folder / TREE / "comfyui"
    comfyui = workshop.folder / name / "comfyui"
    shutil.copytree(tree, comfyui, symlinks=True, copy_function=os.link)
    pack = comfyui / "custom_nodes" / name
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(PACK.format(code=code, names=names))
    environment = environment_in(workshop, workshop.environments.folder / ENVIRONMENT)
    asked = PackAsk(name, f"https://example.com/{name}", "0" * 40, (name.title(),))
    ask = RuntimeAsk(ComfyAsk(version="0"), (asked,), node_types=(name.title(), "KSampler"))
    return Candidate(comfyui, tree, environment), ask


def below(process: psutil.Process) -> set[int]:
    """What a process has begun, but for the database of other tests, which begins and ends its own as it likes."""
    found = set()
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.name() != "postgres":
                found.add(child.pid)
    return found


async def test_looks_are_forked_and_see_their_own_packs_alone(
    workshop: Workshop, looks: Looks, booted: list[str], tmp_path: Path
) -> None:
    report = BuildReport(tmp_path / "log")
    alpha, ask = candidate_with(workshop, "alpha", WRITES, "['Alpha']")
    first = await looks.look(alpha, ask, report)
    assert {"Alpha", "KSampler"} <= {*first.node_types} and not first.not_imported
    before = below(psutil.Process())
    beta, ask = candidate_with(workshop, "beta", LOOKS_AROUND, "found")
    written = (beta.comfyui / "custom_nodes/beta/__init__.py").read_bytes()
    second = await looks.look(beta, ask, report)
    assert {*second.node_types} - {*first.node_types} == {"Beta"}
    assert {*first.node_types} - {*second.node_types} == {"Alpha"}
    assert booted == []
    # It is the same process that they are forked from, and nothing is left of the looks.
    assert below(psutil.Process()) <= before
    assert (beta.comfyui / "custom_nodes/beta/__init__.py").read_bytes() == written
    assert not (alpha.comfyui / "custom_nodes/alpha/written.json").exists()
    with pytest.raises(RuntimeInUse):
        workshop.trees.remove(TREE)
    await looks.close()
    workshop.trees.remove(TREE)


async def test_of_what_a_look_finds_broken_a_boot_has_the_last_word(
    workshop: Workshop, looks: Looks, booted: list[str], tmp_path: Path
) -> None:
    report = BuildReport(tmp_path / "log")
    broken, ask = candidate_with(workshop, "broken", "import a_module_that_nobody_declares", "['Broken']")
    with pytest.raises(ClassesMissing, match="a_module_that_nobody_declares") as missing:
        await looks.look(broken, ask, report)
    assert (missing.value.packs, booted) == (("broken",), ["broken"])
    # One that ends its process ends that look alone; and one whose ComfyUI is gone has it imported again.
    ending, ask = candidate_with(workshop, "ending", "import os; os.name == 'posix' and os._exit(3)", "['Ending']")
    with pytest.raises(Exception, match="does not start"):
        await looks.look(ending, ask, report)
    (kept,) = looks._kept.values()
    assert kept.running and kept.server is not None
    await kept.server.stop()
    alpha, ask = candidate_with(workshop, "alpha", WRITES, "['Alpha']")
    booted.clear()
    assert "Alpha" in (await looks.look(alpha, ask, report)).node_types
    assert booted == []


async def test_what_looks_are_forked_from_ends_when_nobody_looks(workshop: Workshop, tmp_path: Path) -> None:
    before = below(psutil.Process())
    looks = Looks(workshop, idle_seconds=0.0)
    alpha, ask = candidate_with(workshop, "alpha", WRITES, "['Alpha']")
    await looks.look(alpha, ask, BuildReport(tmp_path / "log"))
    assert looks._tidying is not None
    await looks._tidying
    assert looks._kept == {}
    assert below(psutil.Process()) <= before
    workshop.trees.remove(TREE)
    await looks.close()
