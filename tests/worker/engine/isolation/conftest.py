"""A sandbox as this machine offers it, around a program of the test's own instead of a ComfyUI."""

import os
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from runflow.worker.engine.isolation.probe import probe
from runflow.worker.engine.isolation.rungs import Rung, Sandbox, let_reach, make_life, plan, seen
from runflow.worker.engine.isolation.view import Runtime
from runflow.worker.engine.process import EngineProcess

PLAIN_UID = 64_999
SYSTEM_PYTHON = Path("/usr/bin/python3")
SCRIPTS_ALONE = ("enter.py", "bubblewrap.py", "confine.py", "kernel.py", "landlock.py", "pack_folders.py", "seccomp.py")


@dataclass(frozen=True)
class Held:
    """A runtime in a sandbox, and the folder of its one life."""

    runtime: Runtime
    sandbox: Sandbox
    life: Path

    @property
    def base(self) -> Path:
        """The base folder as a program inside knows it."""
        return self.runtime.base_dir if self.sandbox.has_view else self.life

    def plan(self, code: str, **more: Any) -> dict[str, Any]:
        """Return the plan that runs a program inside."""
        sandbox = self.sandbox
        given = plan(
            sandbox,
            seen(sandbox, self.runtime, self.life, 1),
            [str(self.runtime.python), "-c", textwrap.dedent(code)],
            folder=self.runtime.comfy_dir,
            environment={"PATH": "/usr/bin:/bin", "BASE": str(self.base)},
            number=1,
            file_bytes=1 << 20,
        )
        return {**given, **more}

    def process(self, code: str, name: str = "engine", **more: Any) -> tuple[EngineProcess, dict[str, Any]]:
        """Return a process for it, not started, with its plan."""
        given = self.plan(code, **more)
        folder = self.life.parent.parent
        engine = EngineProcess(
            given["command"], cwd=folder, env={}, log_path=folder / f"{name}.log", pid_path=folder / f"{name}.pid"
        )
        return engine, given


def make_runtime(folder: Path, python: Path) -> Runtime:
    """Make what stands for a ComfyUI, and its base folder."""
    comfy = folder / "comfy"
    comfy.mkdir()
    (comfy / "main.py").write_text("print('main')\n")
    base = folder / "base"
    (base / "custom_nodes").mkdir(parents=True)
    return Runtime(comfy, python, base)


@pytest.fixture
async def held(tmp_path: Path) -> Held:
    """What holds an engine here, without a network."""
    runtime = make_runtime(tmp_path, Path(sys.executable))
    sandbox = await probe(runtime, network=False)
    if sandbox.rung is not Rung.NAMESPACES:
        pytest.skip(f"this machine has no namespaces for us: {sandbox.why_not_better}")
    life = tmp_path / "lives" / "one"
    make_life(life, sandbox.uid(1))
    return Held(runtime, sandbox, life)


Inside = Callable[..., Awaitable[str]]


@pytest.fixture
async def inside(held: Held) -> AsyncIterator[Inside]:
    """Run a program inside and return what it printed; `plan` fields can be given by name."""
    started: list[EngineProcess] = []

    async def run(code: str, **more: Any) -> str:
        engine, given = held.process(code, f"engine-{len(started)}", **more)
        started.append(engine)
        await engine.start_within(given)
        await engine.wait()
        return engine.log_tail().strip()

    yield run
    for engine in started:
        await engine.kill()


def plain_held(folder: Path, rung: Rung, *, network: bool = False) -> Held:
    """Make the sandbox of somebody who is not root, with the system's Python, in a folder that they may enter."""
    if os.geteuid() != 0:
        pytest.skip("the suite runs as a plain user: the other tests are this one")
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"there is no {SYSTEM_PYTHON}, and a plain user may not enter the Python of this suite")
    folder.chmod(0o755)
    runtime = make_runtime(folder, SYSTEM_PYTHON)
    life = runtime.base_dir / "lives" / "one"
    make_life(life, None)
    sandbox = Sandbox(rung, privileged=False, layered=rung is Rung.NAMESPACES, network=network)
    if not sandbox.has_view:
        let_reach(runtime.base_dir, life, None)
    for path in (runtime.base_dir, *runtime.base_dir.rglob("*")):
        os.chown(path, PLAIN_UID, PLAIN_UID, follow_symlinks=False)
    return Held(runtime, sandbox, life)


def run_as_plain_user(held: Held, code: str, **more: Any) -> str:
    """Run a program in there and return what it printed.

    The plan is made here; the rung's script alone runs as that user, as it would under a worker of theirs.
    """
    folder = held.runtime.comfy_dir.parent
    given = held.plan(code, **more)
    source = Path(sys.modules["runflow.worker.engine.isolation.rungs"].__file__ or "").parent
    scripts = folder / "engine" / "isolation"
    scripts.mkdir(parents=True, exist_ok=True)
    for name in SCRIPTS_ALONE:
        (scripts / name).write_bytes((source / name).read_bytes())
        (scripts / name).chmod(0o644)
    for mount in given.get("mounts", ()):
        if mount["at"] == "/run/runflow/scripts":
            mount["source"] = str(scripts.parent)
    return _run_script(scripts / given["script"], given, folder)


def _run_script(script: Path, given: dict[str, Any], folder: Path) -> str:
    guard, held = os.pipe()
    os.set_inheritable(guard, True)
    plan_file = folder / "plan.json"
    starter = (
        "import json, os, sys; plan = json.load(open(sys.argv[2])); plan['worker'] = os.getppid(); "
        "made = os.memfd_create('plan', 0); os.write(made, json.dumps(plan).encode()); os.lseek(made, 0, 0); "
        "os.execv(sys.executable, [sys.executable, '-I', '-S', sys.argv[1], str(made)])"
    )
    plan_file.write_bytes(orjson.dumps({**given, "keep": [], "guard": guard}))
    plan_file.chmod(0o644)
    try:
        ended = subprocess.run(
            [str(SYSTEM_PYTHON), "-I", "-S", "-c", starter, str(script), str(plan_file)],
            user=PLAIN_UID,
            group=PLAIN_UID,
            extra_groups=[],
            pass_fds=(guard,),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(guard)
        os.close(held)
    return (ended.stdout + ended.stderr).strip()
