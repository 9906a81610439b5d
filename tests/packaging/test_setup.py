"""scripts/setup on machines that lack something: it says what, and what to install. (CI runs the good case.)"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with what scripts/setup reads."""
    folder = tmp_path / "clone"
    (folder / "scripts").mkdir(parents=True)
    for name in ("scripts/setup", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder for PATH with the few programs that every machine has, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "env", "dirname", "cat", "cksum", "grep", "rm", "awk"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def setup(clone: Path, programs: Path, **environment: str) -> str:
    """Run scripts/setup, which must fail without making anything, and return what it said."""
    command = [str(clone / "scripts/setup")]
    done = subprocess.run(
        command, env={"PATH": str(programs), **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert not (clone / ".venv").exists()
    return done.stderr


def add_program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!{shutil.which('bash')}\n{script}\n")
    path.chmod(0o755)


def test_no_python_at_all(clone: Path, programs: Path) -> None:
    said = setup(clone, programs)
    assert "no Python 3.11 or newer found" in said
    assert "apt-get install python3 python3-venv" in said


def test_an_old_python_is_passed_over(clone: Path, programs: Path) -> None:
    add_program(programs, "python3", "exit 1  # what `sys.exit(sys.version_info < (3, 11))` ends with there")
    assert "no Python 3.11 or newer found" in setup(clone, programs)


def test_a_python_without_venv_names_the_exact_package(clone: Path, programs: Path) -> None:
    """Debian's python3 without python3-venv: the module venv is there, ensurepip is not."""
    add_program(programs, "python3", f'case "$*" in *ensurepip*) exit 1 ;; esac; exec "{sys.executable}" "$@"')
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt-get install python{minor}-venv" in setup(clone, programs)


def test_a_chosen_python_that_does_not_fit_is_an_error(clone: Path, programs: Path) -> None:
    said = setup(clone, programs, RUNFLOW_PYTHON="/nowhere/python3.12")
    assert "RUNFLOW_PYTHON=/nowhere/python3.12 is not a Python 3.11 or newer" in said


def test_nothing_is_done_when_nothing_changed(clone: Path, programs: Path) -> None:
    add_program(programs, "python3", "echo must not run; exit 9")
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to(sys.executable)
    add_program(clone / ".venv/bin", "runflow", "exit 0")
    inputs = (clone / "requirements.lock").read_bytes() + (clone / "pyproject.toml").read_bytes()
    checksum = subprocess.run(["cksum"], input=inputs, capture_output=True, check=True).stdout.decode().strip()
    (clone / ".venv/.runflow-setup").write_text(f"{clone} {checksum}\n")
    command = [str(clone / "scripts/setup")]
    environment = {"PATH": str(programs), "LANG": os.environ.get("LANG", "C")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
