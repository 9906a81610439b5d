"""The Python environment of one runtime: made with uv where that is installed, else with venv and pip."""

import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runflow.worker.runtime.commands import CommandFailed, InstallError, run
from runflow.worker.runtime.index_settings import Indexes
from runflow.worker.runtime.report import Reporter

_WORTH_SAYING = {
    "uv": ("Download", "Resolved", "Prepared", "Installed", "Building", "warning", "error"),
    "pip": ("Collecting", "Downloading", "Building", "Installing"),
}
_UV_ADDS = re.compile(r"^ *\+ ([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment below `root`, and the tool that installs into it (`uv` is None where pip does)."""

    root: Path
    indexes: Indexes
    uv: Path | None

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.root / "bin" / "python"

    @property
    def tool(self) -> str:
        """The name of the tool that installs: `uv` or `pip`."""
        return "uv" if self.uv else "pip"

    @property
    def site_packages(self) -> Path:
        """The folder that installed packages lie in.

        Python is not asked where it is there: what a package leaves for its start would run, whoever wrote it.
        """
        found = sorted(self.root.glob("lib/python3*/site-packages"))
        if len(found) == 1:
            return found[0]
        return Path(self.ask("import sysconfig; print(sysconfig.get_path('purelib'))").strip())

    def ask(self, code: str, *arguments: str, timeout: float = 120) -> str:
        """Run a line of Python in the environment and return what it printed. Raises CommandFailed."""
        what = f"Python in {self.root}"
        return run([self.python, "-c", code, *arguments], what=what, env={"PYTHONPATH": ""}, timeout=timeout)

    def works(self) -> bool:
        """Return whether the interpreter starts and has pip (custom nodes and Auto setup install with it)."""
        try:
            self.ask("import pip, sys", timeout=30)
        except InstallError:
            return False
        return True

    def make(self, reporter: Reporter, *, python: str | None = None, relocatable: bool = False) -> None:
        """Make the environment, removing a broken or half-made one. `python` names another interpreter than ours.

        A `relocatable` one works wherever its folder is moved to; only uv makes such.

        Raises InstallError, which names the package to install where Python lacks venv.
        """
        if self.root.exists():
            shutil.rmtree(self.root)
        base = python or getattr(sys, "_base_executable", None) or sys.executable
        reporter.step(f"Making a Python environment in {self.root} with {'uv' if self.uv else 'venv'}")
        what = "Making the Python environment"
        if self.uv:
            self._make_with_uv(self.uv, base, relocatable=relocatable)
            return
        try:
            run([base, "-m", "venv", self.root], what=what, timeout=600)
        except CommandFailed as error:
            shutil.rmtree(self.root, ignore_errors=True)
            raise InstallError(f"{error}\n{missing_venv_advice()}") from None

    def _make_with_uv(self, uv: Path, base: str, *, relocatable: bool) -> None:
        what = "Making the Python environment with uv"
        moves = ["--relocatable"] if relocatable else []
        options = ["--quiet", "--clear", *moves, *self.indexes.arguments_for_uv, "--python", base]
        command: list[str | Path] = [uv, "venv", *options]
        try:
            run([*command, "--seed", self.root], what=what, env=self._env(None), timeout=600)
        except CommandFailed:
            # The index has no pip to seed it with; Python brings one along.
            run([*command, self.root], what=what, env=self._env(None), timeout=600)
            run([self.python, "-m", "ensurepip", "--default-pip"], what="Installing pip", timeout=600)

    def versions(self, *packages: str) -> dict[str, str]:
        """Return the installed versions of those packages that are installed and whose modules are there."""
        code = (
            "import json, sys\n"
            "from importlib.metadata import PackageNotFoundError, version\n"
            "from importlib.util import find_spec\n"
            "found = {}\n"
            "for name in sys.argv[1:]:\n"
            "    try: found[name] = version(name) if find_spec(name) else None\n"
            "    except PackageNotFoundError: pass\n"
            "print(json.dumps({name: version for name, version in found.items() if version}))"
        )
        found: dict[str, str] = json.loads(self.ask(code, *packages))
        return found

    def install(
        self,
        requirements: Sequence[str],
        reporter: Reporter,
        *,
        constraint: str | None = None,
        no_deps: bool = False,
        env: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        """Install requirements, keeping what is there where it satisfies them.

        `constraint` is one more requirement that must hold for what gets chosen; `env` and `arguments` go to the tool
        on top of the operator's index settings. Raises CommandFailed.
        """
        extra = list(arguments)
        if no_deps:
            extra.append("--no-deps")
        if constraint:
            path = self.root / "runflow-constraint.txt"
            path.write_text(constraint + "\n", encoding="utf-8")
            extra += ["--constraint", str(path)]
        self._run([*extra, *requirements], f"Installing {_short(requirements)}", reporter, env)

    def offered_by_links(self, package: str) -> str | None:
        """Return the version of a package that the find-links places hold for this interpreter, or None."""
        if not self.indexes.find_links:
            return None
        links = [part for place in self.indexes.find_links for part in ("--find-links", place)]
        arguments = ["--dry-run", "--no-deps", "--no-index", *links, package]
        try:
            if self.uv:
                # A dry run reports on standard error, in the same lines as a real one.
                lines: list[str] = []
                uv = [str(self.uv), "pip", "install", "--python", str(self.python), "--reinstall"]
                run([*uv, *arguments], what="uv", env=self._env(None), timeout=300, on_line=lines.append)
                return next((version for name, version in _UV_ADDS.findall("\n".join(lines)) if name == package), None)
            pip = [str(self.python), "-m", "pip", "install", "--quiet", "--ignore-installed", "--report", "-"]
            report = json.loads(run([*pip, *arguments], what="pip", env=self._env(None), timeout=300))
            return next((str(item["metadata"]["version"]) for item in report["install"]), None)
        except CommandFailed:
            return None

    def _run(self, arguments: Sequence[str], what: str, reporter: Reporter, env: Mapping[str, str] | None) -> None:
        if self.uv:
            index = self.indexes.arguments_for_uv
            command: list[str | Path] = [self.uv, "pip", "install", "--python", self.python, *index, *arguments]
            show = reporter.interactive  # uv draws better bars than we could
        else:
            command = [self.python, "-m", "pip", "install", "--progress-bar=off", *arguments]
            show = False

        def say(line: str) -> None:
            text = line.strip()
            if text.startswith(_WORTH_SAYING[self.tool]):
                reporter.note(text) if self.uv else reporter.activity(text[:70])

        run(command, what=f"{what} with {self.tool}", env=self._env(env), show=show, on_line=say)

    def _env(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        base = self.indexes.environment_for_uv() if self.uv else self.indexes.environment_for_pip()
        return {**base, "PYTHONPATH": "", **(extra or {})}


def find_uv() -> Path | None:
    """Return the uv of this machine: on PATH, or beside our own interpreter."""
    beside = Path(sys.executable).with_name("uv")
    found = os.environ.get("UV") or shutil.which("uv") or (str(beside) if beside.exists() else None)
    return Path(found) if found else None


def missing_venv_advice() -> str:
    """Return the sentence that names the exact package to install where Python has no venv."""
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    if shutil.which("apt-get"):
        return f"Install uv, or the system packages `python3-venv` ({minor}) and `python3-pip`, and run this again."
    if shutil.which("dnf"):
        return "Install uv, or the system package `python3-pip`, and run this again."
    return "Install uv, or a Python that has the modules venv and ensurepip, and run this again."


def _short(requirements: Sequence[str]) -> str:
    names = [requirement for requirement in requirements if not requirement.startswith("-")]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_CHOSEN_APART = {"torch", "torchvision", "torchaudio"}
_LARGE_MEDIA = ("comfyui-workflow-templates", "comfyui-embedded-docs")
_FORGOTTEN = "requests"
"""Imported by ComfyUI, but missing from its list before 0.11.0."""


def requirements_of(tree: Path, *, full: bool) -> list[str]:
    """Return what to install for a ComfyUI tree, without torch and its kin.

    Lean (not `full`) leaves out the template media and the embedded docs: hundreds of megabytes that only the editor
    shows. ComfyUI starts without them and logs two lines about it.
    """
    wanted: list[str] = []
    for line in (tree / "requirements.txt").read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        found = _NAME.match(requirement)
        if not found:
            continue
        name = re.sub(r"[._-]+", "-", found.group(1)).lower()
        if name in _CHOSEN_APART or (not full and name.startswith(_LARGE_MEDIA)):
            continue
        wanted.append(requirement)
    if not any(re.match(rf"{_FORGOTTEN}\b", requirement) for requirement in wanted):
        wanted.append(_FORGOTTEN)
    return wanted
