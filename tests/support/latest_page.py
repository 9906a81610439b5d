"""ComfyUI's newest page, as people get it who update the package alone: ComfyUI itself stays at its version.

ComfyUI's page is a package of its own and comes out far more often than ComfyUI does. A new one may break what the
plugin adds to it without any change of ours, so some tests run in it (`every_editor`). It is looked for once a day; a
machine that reaches no index takes the one that it has, and skips these tests where it has none.
"""

import fcntl
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.environment import Environment, find_uv
from runflow.worker.runtime.index_settings import read_indexes
from runflow.worker.runtime.report import LogReporter

LATEST = "latest page"
"""Which editor this is, in the names of tests; which version that is today says the report of a failure."""

PACKAGE = "comfyui-frontend-package"
"""The package of the page."""

_LOOKED_UP_SECONDS = 24 * 3600


@dataclass(frozen=True)
class LatestPage:
    """The page's files, for ComfyUI's `--front-end-root`, and their version."""

    version: str
    files: Path


def latest_page(comfyui: Path, place: Path) -> LatestPage:
    """Unpack the newest page of the package index at `place`, unless that was done within a day.

    Of several processes that want it one fetches it, and the others wait. Raises InstallError where there is none.
    """
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists() or time.time() - place.stat().st_mtime > _LOOKED_UP_SECONDS:
            try:
                _fetch(comfyui, place)
            except InstallError:
                if not place.exists():
                    raise
        (record,) = place.glob("*.dist-info")
        version = record.name.removesuffix(".dist-info").rpartition("-")[2]
        return LatestPage(version, place / PACKAGE.replace("-", "_") / "static")


def _fetch(comfyui: Path, place: Path) -> None:
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    packages = Environment(comfyui / ".venv", read_indexes(), find_uv())
    packages.install([PACKAGE], LogReporter(agree=True), no_deps=True, arguments=["--target", str(part), "--upgrade"])
    shutil.rmtree(place, ignore_errors=True)
    part.rename(place)
