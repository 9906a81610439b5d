"""The packages that a custom node asks for: which lines are plain names with versions, and their installation.

Into this ComfyUI's Python go exactly the approved lines, and never another torch.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .commands import run

KEPT = ("torch", "torchvision", "torchaudio")
"""Packages that stay at the version that is installed: replacing them is how packs break an installation."""

_SECONDS = 60 * 60
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"\s*(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+\s*"
_MARKED = r"(?:python_version|python_full_version|os_name|sys_platform|platform_\w+|implementation_\w+|extra)"
_MARKER = rf"[\s(]*{_MARKED}[A-Za-z0-9_.\s'\"=!<>~(),+-]*"
_LINE = re.compile(
    rf"{_NAME}\s*(?:\[[A-Za-z0-9._,\s-]*\])?\s*"
    rf"(?:\({_VERSION}(?:,{_VERSION})*\)|{_VERSION}(?:,{_VERSION})*)?\s*(?:;{_MARKER})?"
)
# What ends like a file is one for pip: of the folder in which it runs, where such a file is there.
_ARCHIVES = (".whl", ".zip", ".tar", ".tgz", ".tbz", ".txz", ".tlz", ".gz", ".bz2", ".xz", ".lz", ".lzma", ".egg")
_MAX_LINES = 300
_MAX_LENGTH = 300


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


@dataclass(frozen=True)
class Requirements:
    """What pip is asked for, and what is left out: options, addresses, paths and whatever else is not a plain name."""

    plain: tuple[str, ...]
    left_out: tuple[str, ...]


def read_requirements(text: str) -> Requirements:
    """Sort the lines of a requirements.txt. Comments and repetitions go."""
    plain: dict[str, None] = {}
    left_out: dict[str, None] = {}
    joined = re.sub(r"\\\r?\n", " ", text.lstrip("\ufeff"))
    for line in joined.splitlines():
        wanted = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not wanted:
            continue
        if is_plain(wanted) and len(plain) < _MAX_LINES:
            plain[wanted] = None
        else:
            left_out[wanted[:_MAX_LENGTH]] = None
    return Requirements(tuple(plain), tuple(left_out)[:_MAX_LINES])


def is_plain(line: str) -> bool:
    """Whether a line names a package of the index: no option, no address, no path, no variable."""
    if len(line) > _MAX_LENGTH or " --" in line or _LINE.fullmatch(line) is None:
        return False
    return not re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().endswith(_ARCHIVES)
