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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from runflow.worker.runtime.build.bytecode import forget_unused
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
"""For so long an environment stays though no finished runtime has it: one may be on its way."""


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
        return Runtimes(self.folder / "runtimes", self.most_bytes, self.most_days)

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
        return own if own.stat().st_dev == self.folder.stat().st_dev else self.folder / "uv"

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
        """Remove runtimes that nobody used for long or that are too many, and what only they needed; return those."""
        evicted = self.runtimes.evict()
        used = set(self._environments_in_use())
        # What is not yet named by a runtime that is being built has been used a moment ago.
        self.environments.evict_unless(used, idle_seconds=_BUILDING_SECONDS)
        self.trees.evict()
        self.wheels.evict()
        forget_unused(self.bytecode)
        self._forget_resolutions()
        return evicted

    def _forget_resolutions(self) -> None:
        """Remove answers that hold no longer, and what a kill has left of one."""
        for path in self.resolutions.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - RESOLUTION_SECONDS:
                    path.unlink()

    def _environments_in_use(self) -> Iterable[str]:
        for size in self.runtimes.list():
            record = size.runtime.record()
            yield from (str(record[name]) for name in ("environment", "torch") if name in record)
