"""Where a machine's runtimes are made, and what they share: mirrors, trees, environments, bytecode, uv's cache.

runtimes/      the finished ones (`folder.Runtimes`)
environments/  Python environments, each for one set of packages, and those that hold torch alone
trees/         ComfyUIs at commits, which runtimes link
git/ wheels/ resolutions/ bytecode/ uv/
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from runflow.worker.runtime.build.bytecode import forget_unused
from runflow.worker.runtime.build.disk_use import Candidate, make_room
from runflow.worker.runtime.build.folder import Runtime, Runtimes
from runflow.worker.runtime.build.recipes import RECIPES, Recipe
from runflow.worker.runtime.commands import InstallError, run
from runflow.worker.runtime.environment import find_uv
from runflow.worker.runtime.index_settings import Indexes, read_indexes
from runflow.worker.runtime.sources.mirrors import Mirrors

_BYTECODE_SECONDS = 1800
RESOLUTION_SECONDS = 86_400.0
"""How long the answer to a question about packages holds."""
_BUILDING_SECONDS = 4 * 3600.0
"""For so long what a runtime is made of stays though no finished one has it: one may be on its way."""
_DAY_SECONDS = 86_400.0
_CLEANING_SECONDS = 600.0


@dataclass(frozen=True)
class Workshop:
    """The folder in which runtimes are made, and the operator's settings. Sizes in bytes, 0: as much as there is.

    `allowed_prefixes` are starts of addresses of repositories that are taken beside `https://`.
    """

    folder: Path
    indexes: Indexes = field(default_factory=read_indexes)
    torch_index: str | None = None
    allowed_prefixes: tuple[str, ...] = ()
    most_bytes: int = 0
    most_days: float = 30
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)

    @cached_property
    def runtimes(self) -> Runtimes:
        """The finished runtimes."""
        return Runtimes(self.folder / "runtimes", most_days=self.most_days)

    @cached_property
    def environments(self) -> Runtimes:
        """The Python environments; the record of a runtime names the one that it uses."""
        return Runtimes(self.folder / "environments", most_days=0, failed_seconds=0)

    @cached_property
    def trees(self) -> Runtimes:
        """The trees that runtimes link."""
        return Runtimes(self.folder / "trees", most_days=self.most_days, failed_seconds=0)

    @cached_property
    def mirrors(self) -> Mirrors:
        """The mirrors of repositories."""
        return Mirrors(self.folder / "git", allowed_prefixes=self.allowed_prefixes)

    @property
    def bytecode(self) -> Path:
        """What was compiled once for all environments."""
        return self.folder / "bytecode"

    @cached_property
    def wheels(self) -> Runtimes:
        """What was built of packages that packs want from repositories."""
        return Runtimes(self.folder / "wheels", most_days=self.most_days, failed_seconds=0)

    @property
    def resolutions(self) -> Path:
        """What was found of sets of packages."""
        return self.folder / "resolutions"

    @property
    def uv(self) -> Path:
        """The uv of this machine. Raises InstallError."""
        found = find_uv()
        if found is None:
            raise InstallError(
                "Runtimes are built with uv, which is not installed. Install it beside Runflow with pip."
            )
        return found

    @cached_property
    def cache(self) -> Path:
        """The folder of uv's cache: the user's own, unless nothing of it can be linked into environments."""
        own = Path(os.environ.get("UV_CACHE_DIR") or run([self.uv, "cache", "dir"], what="uv").strip())
        own.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        return own if own.stat().st_dev == self.folder.stat().st_dev else self._own_cache

    @property
    def _own_cache(self) -> Path:
        return self.folder / "uv"

    @property
    def environment_of_uv(self) -> dict[str, str]:
        """What uv is told when it installs for runtimes."""
        return {"UV_CACHE_DIR": str(self.cache), "UV_LINK_MODE": "hardlink"}

    def compile(self, folder: Path, *, share: bool) -> None:
        """Compile what is below a folder; with `share`, environments have one copy of that."""
        self.bytecode.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name("bytecode.py")
        try:
            run(
                [sys.executable, "-I", script, folder, self.bytecode if share else "-"],
                what=f"Compiling {folder}",
                timeout=_BYTECODE_SECONDS,
            )
        except InstallError:
            return  # Python compiles what is missing when it imports it

    def evict(self) -> tuple[Runtime, ...]:
        """Remove what nobody used for long, and what was used longest ago if all takes too much; return the runtimes.

        What is in use stays, and what a build may be about to use.
        """
        evicted = list(self.runtimes.evict())
        # What is not yet named by a runtime that is being built has been used a moment ago.
        self.environments.evict_unless(set(self._environments_in_use()), idle_seconds=_BUILDING_SECONDS)
        self.trees.evict()
        self.wheels.evict()
        if self.most_days:
            self.mirrors.evict(max(self.most_days * _DAY_SECONDS, _BUILDING_SECONDS))
        forget_unused(self.bytecode)
        self._forget_resolutions()
        if self.most_bytes:
            make_room(self.folder, self.most_bytes, lambda: self._candidates(evicted))
        return tuple(evicted)

    def _candidates(self, evicted: list[Runtime]) -> Iterator[Candidate]:
        """Yield what may go for want of room; runtimes that go are added to `evicted`."""
        needed = set(self._environments_in_use())
        idle = time.time() - _BUILDING_SECONDS
        for fingerprint, at in self.runtimes.failures():
            forget = partial(self.runtimes.forget_failure, fingerprint, at)
            yield Candidate(f"failure {fingerprint}", at, forget)
        for runtime, at in self.runtimes.uses():
            yield Candidate(f"runtime {runtime.fingerprint}", at, partial(self._remove_runtime, runtime, at, evicted))
        for environment, at in self.environments.uses():
            if environment.fingerprint not in needed and at < idle:
                remove = partial(self._remove_environment, environment, at)
                yield Candidate(f"environment {environment.fingerprint}", 0.0, remove)  # nobody has a use for it
        for kind in (self.trees, self.wheels):
            for one, at in kind.uses():
                if at < idle:
                    yield Candidate(str(one.folder), at, partial(kind.remove_unused, one.fingerprint, at))
        for mirror, at in self.mirrors.uses():
            if at < idle:
                yield Candidate(str(mirror), at, partial(self.mirrors.remove_unused, mirror, at))
        if self._own_cache.is_dir():
            last_build = max((at for _, at in self.environments.uses()), default=0.0)
            yield Candidate(str(self._own_cache), last_build, self._clean_cache)

    def _remove_runtime(self, runtime: Runtime, last_used: float, evicted: list[Runtime]) -> bool:
        is_removed = self.runtimes.remove_unused(runtime.fingerprint, last_used)
        if is_removed:
            evicted.append(runtime)
        return is_removed

    def _remove_environment(self, environment: Runtime, last_used: float) -> bool:
        is_removed = self.environments.remove_unused(environment.fingerprint, last_used)
        forget_unused(self.bytecode)
        return is_removed

    def _clean_cache(self) -> bool:
        """Empty our own cache of uv, unless somebody builds: environments keep the files that they have of it."""
        if self.runtimes.is_building():
            return False
        try:
            run(
                [self.uv, "cache", "clean", "--quiet"],
                what="uv",
                env={"UV_CACHE_DIR": str(self._own_cache)},
                timeout=_CLEANING_SECONDS,
            )
        except InstallError:
            return False  # another worker's uv holds it
        return True

    def _forget_resolutions(self) -> None:
        """Remove answers that hold no longer, and what a kill has left of one."""
        for path in self.resolutions.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - RESOLUTION_SECONDS:
                    path.unlink()

    def _environments_in_use(self) -> Iterable[str]:
        for runtime, _ in self.runtimes.uses():
            try:
                record = runtime.record()
            except FileNotFoundError:
                continue  # another worker has removed it
            yield from (str(record[name]) for name in ("environment", "torch") if name in record)
