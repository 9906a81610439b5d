"""scripts/setup on machines that lack something: it says what, and what to install. (CI runs the good case.)"""

import os
import re
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
    for name in ("scripts/setup", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for source in ("src/runflow/one.py", "plugin/one.py"):
        (folder / source).parent.mkdir(parents=True)
        (folder / source).write_text("ONE = 1\n")
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


@pytest.mark.parametrize(
    ("there", "asked", "enough"),
    [
        ("worker", "--worker", True),
        ("worker", "", False),
        ("worker all", "", True),
        ("worker all", "--worker", True),
        ("worker all", "--dev", False),
        ("worker all dev", "", True),
        ("worker all dev", "--dev", True),
    ],
)
def test_nothing_is_done_when_nothing_changed_and_enough_is_there(
    clone: Path, programs: Path, there: str, asked: str, enough: bool
) -> None:
    add_program(programs, "uv", "echo uv is called; exit 9")
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/bin/python").symlink_to(sys.executable)
    add_program(clone / ".venv/bin", "runflow", "exit 0")
    locks = [path.read_bytes() for path in sorted((clone / "requirements").iterdir())]
    inputs = b"".join([*locks, (clone / "pyproject.toml").read_bytes()])
    checksum = subprocess.run(["cksum"], input=inputs, capture_output=True, check=True).stdout.decode().strip()
    (clone / ".venv/.runflow-setup").write_text(f"{clone} {checksum}: {there}\n")
    command = [str(clone / "scripts/setup"), *asked.split()]
    environment = {"PATH": str(programs), "LANG": os.environ.get("LANG", "C"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if enough:
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        compiled = {path.relative_to(clone).parts[0] for path in clone.rglob("one.*.pyc")}
        assert compiled == {"src", "plugin"}, "no start compiles what can be compiled once"
    else:
        assert done.returncode == 1 and "uv is called" in done.stdout


def test_a_wrong_option_is_an_error(clone: Path, programs: Path) -> None:
    command = [str(clone / "scripts/setup"), "--everything"]
    done = subprocess.run(command, env={"PATH": str(programs)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "there is no --everything" in done.stderr


def test_each_lock_adds_to_the_one_before() -> None:
    """What a worker installs knows no server, and what a user installs knows no test."""
    kinds = ("worker", "all", "dev")
    locked = {kind: set(re.findall(r"^([a-z0-9-]+)==", lock(kind), flags=re.MULTILINE)) for kind in kinds}
    assert {"aiohttp", "typer", "hatchling"} <= locked["worker"]
    assert {"fastapi", "sqlalchemy", "botocore", "numpy"} <= locked["all"] - locked["worker"]
    assert {"pytest", "moto", "mypy", "playwright"} <= locked["dev"] - locked["all"] - locked["worker"]
    lines = [line for kind in kinds for line in re.findall(r"^[a-z0-9-]+==.*$", lock(kind), flags=re.MULTILINE)]
    assert len(lines) == len(set(lines))


def lock(kind: str) -> str:
    return (ROOT / "requirements" / f"{kind}.lock").read_text()
