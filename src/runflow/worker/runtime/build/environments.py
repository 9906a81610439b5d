"""Python environments, one for each set of packages: runtimes with equal packages use one, others share its files."""

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runflow.worker.runtime.build.folder import Runtime
from runflow.worker.runtime.build.workshop import Workshop
from runflow.worker.runtime.commands import InstallError, in_thread
from runflow.worker.runtime.environment import Environment
from runflow.worker.runtime.packages.record_overlap import overlap_told, overlapping
from runflow.worker.runtime.packages.resolve import Resolution
from runflow.worker.runtime.report import Reporter
from runflow.worker.runtime.torch_build import TRIO, ensure_importable, fitting_build, install_torch, plan_torch

_VENV, _LOCK = "venv", "lock.txt"
_DATA = frozenset({"share", "etc", "include", "man", "lib64"})
"""Where packages may put files beside their modules and programs."""
_LEFT_BY_TORCH = "runflow-constraint.txt"


def environment_in(workshop: Workshop, place: Path) -> Environment:
    """Return the environment that one of the folders of `Workshop.environments` holds."""
    return Environment(place / _VENV, workshop.indexes, workshop.uv)


def torch_name(workshop: Workshop) -> str:
    """Return the name of the environment with the torch that is to be had here."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    told = (python, sys.version, workshop.torch_index or "", *workshop.indexes.find_links)
    return f"torch-{_digest('|'.join(told))}"


async def torch_environment(workshop: Workshop, reporter: Reporter) -> Runtime:
    """Return the environment that holds the torch of this machine and nothing else; it is made once.

    Raises InstallError where no torch can be had, or it does not import.
    """

    def make(part: Path) -> Mapping[str, Any]:
        environment = environment_in(workshop, part)
        environment.make(reporter, relocatable=True)
        plan = plan_torch(environment, fitting_build(), workshop.torch_index, reporter)
        install_torch(environment, plan, reporter)
        compatible = ensure_importable(environment, reporter)
        (environment.root / _LEFT_BY_TORCH).unlink(missing_ok=True)  # a link of it would be written to
        workshop.compile(environment.root, share=True)
        return {**environment.versions(*TRIO), "torch_origin": plan.origin, "compatibility_module": compatible}

    return await workshop.environments.build(torch_name(workshop), lambda part: in_thread(lambda: make(part)))


async def environment_of(workshop: Workshop, torch: Runtime, resolution: Resolution, reporter: Reporter) -> Runtime:
    """Return the environment with this torch and the packages of a resolution, made unless it is there.

    Raises InstallError where they cannot be installed, or two of them own one file.
    """

    def make(part: Path) -> Mapping[str, Any]:
        # torch and what it needs are most of an environment; these files have further names here, and no second copy.
        shutil.copytree(torch.folder / _VENV, part / _VENV, symlinks=True, copy_function=os.link)
        environment = environment_in(workshop, part)
        (part / _LOCK).write_text(resolution.lock, encoding="utf-8")
        environment.install(
            [],
            reporter,
            no_deps=True,
            env=workshop.environment_of_uv,
            # A lock has the hashes of source packages, too, and those would be built here and now.
            arguments=["--require-hashes", "--only-binary", ":all:", "-r", str(part / _LOCK)],
        )
        _refuse_changes(environment.root, torch.folder / _VENV)
        if overlaps := overlapping(environment.site_packages):
            raise InstallError(overlap_told(overlaps))
        workshop.compile(environment.root, share=True)
        return {"torch": torch.fingerprint, "packages": resolution.packages}

    digest = _digest(f"{torch.fingerprint}\n{resolution.lock}")
    return await workshop.environments.build(f"packages-{digest}", lambda part: in_thread(lambda: make(part)))


def _refuse_changes(root: Path, before: Path) -> None:
    """Refuse packages that write where an environment says which Python it is: that runs before any sandbox is there.

    Raises InstallError.
    """
    for place in (Path(), Path("lib"), *(path.relative_to(root) for path in root.glob("lib/python3*"))):
        is_own = {entry.name for entry in (before / place).iterdir()} if (before / place).is_dir() else set()
        for entry in (root / place).iterdir():
            if entry.name not in is_own and not (place == Path() and entry.name in _DATA):
                _refuse(root, entry)
    bins = {entry.name for folder in (root, before) for entry in (folder / "bin").iterdir() if _is_python(entry.name)}
    for name in (*(f"bin/{one}" for one in sorted(bins)), "pyvenv.cfg"):
        if _said(root / name) != _said(before / name):
            _refuse(root, root / name)


def _refuse(root: Path, entry: Path) -> None:
    raise InstallError(
        f"A package writes {entry.relative_to(root)}, which is no place of a package's: it would stand in for a part "
        "of Python itself. Remove what asks for it."
    )


def _is_python(name: str) -> bool:
    return name.lower().startswith(("python", "activate"))


def _said(path: Path) -> bytes | None:
    """Return what tells one such file from another: where a link leads, or what is in it."""
    if path.is_symlink():
        return os.fsencode(path.readlink())
    return path.read_bytes() if path.is_file() else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
