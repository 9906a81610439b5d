"""Wheels that were built here of sources, kept by what they were built of: none is built twice."""

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from runflow.worker.runtime.build.environments import environment_in
from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import InstallError, in_thread, run
from runflow.worker.runtime.confined.confined import remove_folder
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.packages.requirements import plain_requirement
from runflow.worker.runtime.packages.uv_compile import Compiler, NoSolution, Question
from runflow.worker.runtime.packages.wheels import (
    MOST_REQUIREMENTS,
    WheelBuildFailed,
    build_requirements,
    build_wheel,
    is_plain,
)

Build = Callable[[Path], Awaitable[None]]
"""Brings the source below a folder, and calls `build_kept`."""

SOURCE = "source"
"""Where below the folder of a build its source lies; it goes when the wheel is there."""
_REQUIRES, _BUILT = "requires", "built"
_FETCH_SECONDS = 900
_RESOLVE_SECONDS = 300.0
_TRIES = 3
_MISSING = re.compile(r"No solution found when resolving: (`[^\n]+`)")


class PackageNotBuilt(InstallError):
    """A package that packs want cannot be built. `packs`: those packs."""

    def __init__(self, message: str, packs: tuple[str, ...], *, may_pass: bool = False) -> None:
        """Keep whom to blame."""
        self.packs = packs
        self.may_pass = may_pass
        super().__init__(message)


async def kept_wheel(workshop: Workshop, key: str, build: Build) -> Path:
    """Return the wheel that is kept under this key, built by `build` where there is none. Raises what that raises."""

    async def make(part: Path) -> None:
        await build(part)
        for place in (part / SOURCE, part / _REQUIRES):
            await asyncio.to_thread(remove_folder, place)

    kept = (await workshop.wheels.build(key, make)).folder / _BUILT
    wheel = next(iter(sorted(kept.glob("*.whl"))), None)
    if wheel is None:
        raise InstallError(f"Its wheel is not in {kept}. Remove {kept.parent}, and it is built anew.")
    return wheel


async def build_kept(
    workshop: Workshop, torch: Runtime, source: Path, work: Path, *, name: str, version: str | None, log: Path
) -> None:
    """Build the wheel of a source tree or archive where `kept_wheel` finds it.

    `torch` is the environment whose Python builds, `work` what `Build` was given. What the build requires is fetched
    as wheels; the build itself has no network. Raises InstallError.
    """
    environment = environment_in(workshop, torch.folder)
    wheels, into = work / _REQUIRES, work / _BUILT
    for folder in (wheels, into):
        folder.mkdir()
    needed = await asyncio.to_thread(build_requirements, source)
    for tries_left in reversed(range(_TRIES)):
        if needed:
            await in_thread(partial(_fetch_wheels, workshop, environment, needed, work, wheels))
        try:
            await build_wheel(
                source,
                name=name,
                version=version,
                python=environment.python,
                uv=workshop.uv,
                build_requires_wheels=wheels,
                into=into,
                log=log,
            )
            return
        except WheelBuildFailed as failed:
            # What a `setup.py` asks for besides is known once it ran.
            found = [one for one in _asked(failed.tail) if one not in needed]
            if not found or not tries_left:
                raise
            needed = [*needed, *found]


def _asked(tail: str) -> list[str]:
    """Return what a build asked for that was not there, by what uv said of it last: plain packages of an index alone.

    Strangers' code can have it say anything; it could have asked for the same openly.
    """
    found = _MISSING.findall(tail)
    asked = found[-1].strip("`").split("`, `") if found else []
    return asked if len(asked) <= MOST_REQUIREMENTS and all(is_plain(one) for one in asked) else []


def _fetch_wheels(workshop: Workshop, environment: Environment, needed: Sequence[str], work: Path, into: Path) -> None:
    """Fetch wheels by a lock of their own: what a wheel asks for may name an address, which pip would obey."""
    with tempfile.TemporaryDirectory(prefix="lock-", dir=work) as scratch:
        env = {"UV_CACHE_DIR": str(workshop.cache)}
        compiler = Compiler(environment, Path(scratch), _RESOLVE_SECONDS, env, left_out=())
        try:
            lock = compiler.compile(Question([plain_requirement(one) for one in needed])).lock
        except NoSolution as failed:
            what = f"Fetching what builds it ({', '.join(needed)})"
            raise InstallError(f"{what} failed: not all of it can be had as wheels.\n{failed.words}") from None
        locked = Path(scratch) / "locked.txt"
        locked.write_text(lock, encoding="utf-8")
        run(
            [
                *(environment.python, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--no-deps"),
                *("--require-hashes", "--dest", into, "--requirement", locked),
            ],
            what=f"Fetching what builds it ({', '.join(needed)})",
            env={**environment.indexes.environment_for_pip(), "PYTHONPATH": ""},
            timeout=_FETCH_SECONDS,
        )
