"""The oldest ComfyUI that the plugin supports, made beside the newest: its own source and its own editor page.

Everything else of its environment (torch, transformers and 80 more) is the newest one's: a second copy would take
minutes and 1.6 GB, and ComfyUI 0.16.3 runs on the same packages.
"""

import fcntl
import shutil
import subprocess
from pathlib import Path

from runflow.worker.runtime.environment import Environment, find_uv
from runflow.worker.runtime.index_settings import read_indexes
from runflow.worker.runtime.report import LogReporter
from runflow.worker.runtime.source import SourceAsk, fetch_source, plan_source

OLDEST = "0.16.3"
"""The oldest release that can be had from everywhere (runflow.worker.runtime.source_package)."""

_FRONTEND = "comfyui-frontend-package"


def make_oldest(newest: Path, place: Path) -> Path:
    """Make it at `place`, in one step, unless it is there. Raises InstallError where it cannot be had.

    Of several processes that want it one makes it, and the others wait.
    """
    with place.with_name(f"{place.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return place if place.exists() else _make(newest, place)


def _make(newest: Path, place: Path) -> Path:
    reporter = LogReporter(agree=True)
    packages = Environment(newest / ".venv", read_indexes(), find_uv())
    part = place.with_name(f"{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    source = fetch_source(plan_source(SourceAsk(version=OLDEST), reporter), part / "staging", packages, reporter)
    made = part / "comfyui"
    source.tree.rename(made)
    _borrow_packages(packages, made / ".venv")
    frontend = next(line for line in (made / "requirements.txt").read_text().splitlines() if line.startswith(_FRONTEND))
    own = Environment(made / ".venv", packages.indexes, packages.uv).site_packages
    packages.install([frontend], reporter, no_deps=True, arguments=["--target", str(own)])
    made.rename(place)
    shutil.rmtree(part)
    return place


def _borrow_packages(lender: Environment, root: Path) -> None:
    """Make an environment that finds its own packages first, then those of another environment."""
    subprocess.run([lender.python, "-m", "venv", "--without-pip", root], check=True, timeout=120)
    own = Environment(root, lender.indexes, lender.uv).site_packages
    (own / "borrowed.pth").write_text(f"import site; site.addsitedir({str(lender.site_packages)!r})\n")
