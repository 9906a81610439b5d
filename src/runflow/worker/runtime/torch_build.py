"""Choose a torch that fits the machine, with the torchvision and torchaudio that belong to it.

The order is the issue's: an index that the operator names; a wheel in the operator's find-links; the CPU or CUDA build
that fits the machine; the default index last, because its Linux wheels bring CUDA along whatever the machine has.
"""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from runflow.worker.runtime.commands import CommandFailed, Declined, EnvironmentDamaged, run
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.report import Reporter

TRIO = ("torch", "torchvision", "torchaudio")
COMPAT_MODULE = "_runflow_torch_compat"
_PROBE = (
    "import importlib, json\n"
    "failed = {}\n"
    "for name in ('torch', 'torchvision', 'torchaudio'):\n"
    "    try: importlib.import_module(name)\n"
    "    except Exception as error: failed[name] = f'{type(error).__name__}: {error}'\n"
    "import torch\n"
    "print(json.dumps({'failed': failed, 'cuda': torch.version.cuda, 'hip': torch.version.hip}))"
)


class Build(StrEnum):
    """The kind of torch that is wanted."""

    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, slots=True)
class TorchPlan:
    """Where torch comes from and what to say about it. `env` and `arguments` are for the installing tool."""

    origin: str
    size: str
    version: str | None = None
    tool: Environment | None = None
    env: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    needs_consent: bool = False


def fitting_build() -> Build:
    """Return the build for this machine: CUDA where the NVIDIA driver answers, else CPU (on macOS it brings Metal)."""
    if not shutil.which("nvidia-smi"):
        return Build.CPU
    try:
        seen = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return Build.CPU
    return Build.CUDA if seen.returncode == 0 and "GPU" in seen.stdout else Build.CPU


def plan_torch(environment: Environment, build: Build, index: str | None, reporter: Reporter) -> TorchPlan:
    """Decide where torch comes from, downloading nothing large."""
    if index:
        return _from_index(environment, index)
    offered = environment.offered_by_links("torch")
    if offered:
        if _fits(offered, build):
            size = _size_in_links(environment, offered)
            return TorchPlan(origin="find-links", version=offered, size=size)
        reporter.note(f"The find-links places offer torch {offered}, which is not a {build} build; looking further.")
    if sys.platform == "linux" and not environment.indexes.no_index:
        fitting = _from_backend(environment, build, reporter)
        if fitting:
            return fitting
    size = "about 2.7 GB of downloads (its Linux wheels carry CUDA)" if sys.platform == "linux" else "about 150 MB"
    return TorchPlan(origin="default package index", size=size, needs_consent=True)


def install_torch(environment: Environment, plan: TorchPlan, reporter: Reporter) -> None:
    """Install the three as planned. Raises Declined, CommandFailed."""
    if plan.needs_consent and not reporter.confirm(f"torch comes from the {plan.origin}: {plan.size}. Download it?"):
        raise Declined(
            f"No torch fits this machine except the one of the {plan.origin} ({plan.size}), and nobody agreed to that. "
            "Pass --yes to agree, name an index with --torch-index URL, or put a torch wheel into a folder and name "
            "that folder in PIP_FIND_LINKS."
        )
    tool = plan.tool or environment
    if plan.version:
        links = [part for place in environment.indexes.find_links for part in ("--find-links", place)]
        exact = f"torch=={plan.version}"
        no_index = () if environment.indexes.no_index else ("--no-index",)  # uv takes it once
        tool.install([exact], reporter, no_deps=True, arguments=[*no_index, *links])
        tool.install(TRIO, reporter, constraint=exact)
        return
    tool.install(TRIO, reporter, env=plan.env, arguments=plan.arguments)


@dataclass(frozen=True, slots=True)
class TorchState:
    """What importing the three in the environment showed."""

    failed: dict[str, str]
    cuda: str | None

    @property
    def works(self) -> bool:
        """Whether all three import."""
        return not self.failed


def probe_torch(environment: Environment) -> TorchState:
    """Import torch, torchvision and torchaudio in the environment. A missing torch is a failure like any other."""
    try:
        seen = json.loads(environment.ask(_PROBE, timeout=300).splitlines()[-1])
    except (CommandFailed, IndexError, json.JSONDecodeError) as error:
        return TorchState({"torch": str(error)}, None)
    return TorchState(seen["failed"], seen["cuda"] or seen["hip"])


def ensure_importable(environment: Environment, reporter: Reporter) -> bool:
    """Test the three, and install the compatibility module where that is what it takes. Return whether it is there.

    Raises EnvironmentDamaged when torch itself does not import, or the others do not even with the module.
    """
    state = probe_torch(environment)
    module = environment.site_packages / f"{COMPAT_MODULE}.py"
    if state.works:
        return module.exists()
    if "torch" in state.failed:
        raise EnvironmentDamaged(f"torch does not import in {environment.root}: {state.failed['torch']}")
    if state.cuda is None:
        source = files("runflow.worker.runtime").joinpath(f"{COMPAT_MODULE}.py").read_text(encoding="utf-8")
        module.write_text(source, encoding="utf-8")
        module.with_suffix(".pth").write_text(f"import {COMPAT_MODULE}\n", encoding="utf-8")
        after = probe_torch(environment)
        if after.works:
            reporter.note(
                f"{' and '.join(state.failed)} were built for CUDA and do not import beside this CPU torch: installed "
                f"the compatibility module {COMPAT_MODULE} (box operators such as nms stay unavailable)."
            )
            return True
        state = after
        module.unlink()
        module.with_suffix(".pth").unlink()
    reasons = "; ".join(f"{name}: {reason}" for name, reason in state.failed.items())
    raise EnvironmentDamaged(
        f"torch imports in {environment.root}, but not what belongs to it ({reasons}). Remove that folder and choose "
        "builds that match, e.g. with --torch-index URL."
    )


def _from_index(environment: Environment, index: str) -> TorchPlan:
    if environment.uv:
        # First-index, so that an equal or higher version elsewhere does not win over the named index.
        env = {"UV_INDEX": index, "UV_INDEX_STRATEGY": "first-index", "UV_FIND_LINKS": ""}
    else:
        env = {"PIP_INDEX_URL": index, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": ""}
    return TorchPlan(origin="the index that was named", size="as large as that index has it", env=env)


def _from_backend(environment: Environment, build: Build, reporter: Reporter) -> TorchPlan | None:
    """Plan with the torch project's own builds, which uv knows by name; None where they cannot be reached."""
    tool = environment
    if not tool.uv:
        reporter.step("Fetching uv (about 20 MB) to find the torch build that fits this machine")
        try:
            tool.install(["uv"], reporter)
        except CommandFailed:
            return None
        tool = replace(environment, uv=environment.root / "bin" / "uv")
    backend = "cpu" if build is Build.CPU else "auto"
    env = {**tool.indexes.environment_for_uv(), "UV_TORCH_BACKEND": backend, "UV_INDEX_STRATEGY": "first-index"}
    probe = {**env, "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "0"}
    assert tool.uv is not None
    try:
        command = [str(tool.uv), "pip", "install", "--python", str(tool.python), "--dry-run"]
        run([*command, *TRIO], what="Looking for a torch build that fits", env=probe, timeout=90)
    except CommandFailed:
        return None
    size = "about 200 MB of downloads" if build is Build.CPU else "about 2.7 GB of downloads"
    return TorchPlan(origin=f"the {build} build that fits this machine", size=size, tool=tool, env=env)


def _fits(version: str, build: Build) -> bool:
    """Return whether a version's local label (`+cpu`, `+cu130`, none) agrees with the wanted build."""
    label = version.partition("+")[2]
    if not label or sys.platform == "darwin":
        return True
    return (label == "cpu") == (build is Build.CPU)


def _size_in_links(environment: Environment, version: str) -> str:
    tags = f"torch-{version}-*{platform.machine()}*.whl"
    sizes = [
        path.stat().st_size
        for place in environment.indexes.find_links
        if "://" not in place
        for path in Path(place).expanduser().glob(tags)
    ]
    torch = f"{sizes[0] / 1e6:.0f} MB from disk" if sizes else "as large as the wheel there"
    return f"{torch}, and about 40 MB of downloads for the rest"
