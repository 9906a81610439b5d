"""What holds a build here, on each rung that this machine offers, around programs of the tests' own."""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runflow.worker.engine.isolation import landlock
from runflow.worker.engine.isolation.rungs import FIRST_BUILD_UID, Rung, Sandbox
from runflow.worker.engine.isolation.view import folders_of_python
from runflow.worker.runtime.confined.confined import Limits, Result, run_confined
from runflow.worker.runtime.confined.confinement import BuildsNotConfined, confinement

SYSTEM_PYTHON = Path("/usr/bin/python3")
KINDS = ("best", pytest.param("bubblewrap", marks=pytest.mark.optional), "landlock with a user", "landlock")
SMALL = Limits(seconds=60.0, memory_bytes=512 << 20, disk_bytes=64 << 20, most_processes=64)


@dataclass(frozen=True)
class Bench:
    """A folder that any user may enter, and what holds the programs that run there."""

    folder: Path
    sandbox: Sandbox
    python: Path
    limits: Limits = field(default=SMALL)

    @property
    def log(self) -> Path:
        """Where output goes."""
        return self.folder / "build.log"

    @property
    def work(self) -> Path:
        """The folder that a program may write to."""
        place = self.folder / "work"
        place.mkdir(exist_ok=True)
        return place

    async def command(
        self,
        *words: str | Path,
        readable: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Result:
        """Run a command."""
        limits = limits or self.limits
        return await run_confined(
            words,
            writable=self.work,
            readable=[*readable, *folders_of_python(self.python, self.work)],
            environment=environment or {},
            seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
            disk_bytes=limits.disk_bytes,
            most_processes=limits.most_processes,
            log=self.log,
            sandbox=self.sandbox,
        )

    async def run(
        self,
        code: str,
        *,
        readable: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> Result:
        """Run a program of Python."""
        words = (self.python, "-c", textwrap.dedent(code))
        return await self.command(*words, readable=readable, environment=environment, limits=limits)


async def made_bench(folder: Path, kind: str) -> Bench:
    """Make what holds builds on a rung, or skip with the reason why there is none."""
    root = os.geteuid() == 0
    if kind == "best":
        try:
            return Bench(folder, await confinement(folder), Path(sys.executable))
        except BuildsNotConfined as error:
            pytest.skip(str(error))
    if kind == "bubblewrap":
        if shutil.which("bwrap") is None:
            pytest.skip("there is no bwrap here")
        return Bench(folder, Sandbox(Rung.BUBBLEWRAP, network=False), Path(sys.executable))
    if landlock.version() < landlock.SIGNALS_SINCE:
        pytest.skip("Landlock of Linux 6.12 is needed")
    if kind == "landlock":
        return Bench(folder, Sandbox(Rung.LANDLOCK, privileged=root, network=False), Path(sys.executable))
    if not root:
        pytest.skip("only root has users to give")
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"there is no {SYSTEM_PYTHON}, and another user may not enter the Python of this suite")
    held = Sandbox(Rung.LANDLOCK, privileged=True, users=FIRST_BUILD_UID, network=False)
    return Bench(folder, held, SYSTEM_PYTHON)
