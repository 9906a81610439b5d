"""Installing packages into this ComfyUI's Python: exactly the approved lines, and never another torch."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from .commands import run
from .requirements import is_plain

KEPT = ("torch", "torchvision", "torchaudio")
"""Packages that stay at the version that is installed: replacing them is how packs break an installation."""

_SECONDS = 60 * 60


def installer(python: str = sys.executable, prefix: str = sys.prefix) -> list[str]:
    """The command that installs: uv where it made the environment and is there, else this Python's pip."""
    uv = shutil.which("uv")
    try:
        made = (Path(prefix) / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        made = ""
    if uv and any(line.partition("=")[0].strip() == "uv" for line in made.splitlines()):
        return [uv, "pip", "install", "--no-progress", "--python", python]
    # Windows' portable ComfyUI runs without the user's own packages; so must its pip.
    isolated = ["-s"] if sys.flags.no_user_site else []
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    return [python, *isolated, "-m", "pip", "install", *options]


def install(
    lines: Sequence[str],
    cancelled: threading.Event,
    on_line: Callable[[str], None],
    command: Sequence[str] | None = None,
) -> None:
    """Install packages. Blocks; `command` is the installer where it is not this Python's.

    Raises:
        CommandFailed: it failed; what it wrote says why.
        Cancelled: `cancelled` was set.
    """
    assert all(is_plain(line) for line in lines), lines
    with tempfile.TemporaryDirectory(prefix="runflow-") as folder:
        wanted, kept = Path(folder) / "requirements.txt", Path(folder) / "kept.txt"
        wanted.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        kept.write_text("".join(f"{line}\n" for line in _kept()), encoding="utf-8")
        full = [*(command or installer()), "-r", str(wanted), "-c", str(kept)]
        environment = {**os.environ, "PYTHONUTF8": "1"}
        what = "Installing its packages"
        run(full, what=what, environment=environment, cancelled=cancelled, seconds=_SECONDS, on_line=on_line)


def _kept() -> list[str]:
    found = {each.metadata["Name"]: each.version for each in importlib.metadata.distributions()}
    return [f"{name}=={found[name]}" for name in KEPT if name in found]
