"""The data folder: made in one step, checked before each start, never changed by a version that did not write it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from runflow.embedded_postgres import configuration
from runflow.embedded_postgres.binaries import MAJOR, Binaries
from runflow.embedded_postgres.child import spawn
from runflow.embedded_postgres.diagnosis import explain, next_step
from runflow.embedded_postgres.errors import HomeUnusable, InitialisationFailed
from runflow.embedded_postgres.location import Location
from runflow.embedded_postgres.private_file import read_private, sync_folder, write_private
from runflow.embedded_postgres.upgrade import other_major_version
from runflow.embedded_postgres.user import DatabaseUser

OWNER = "runflow_owner"
DATABASE = "runflow"
PASSWORD = "postgres.password"  # noqa: S105 - the name of the file
_STAGING = "postgres.new-"


def prepare(location: Location, user: DatabaseUser, binaries: Binaries, report: Callable[[str], None]) -> str:
    """Make the data folder unless it is there, write its settings, and return the owner's password.

    No server may run on it. Raises OtherMajorVersion, HomeUnusable, InitialisationFailed, BinariesUnavailable, OSError.
    """
    remove_unfinished(location)
    known = read_password(location.home)
    password = known or secrets.token_urlsafe(32)
    if not known:
        write_private(location.home / PASSWORD, password + "\n")
    if _exists(location, user):
        if not known:
            report(f"The file {location.home / PASSWORD} was missing: giving {OWNER} a new password")
            _set_password(location, user, binaries, password)
    else:
        report(f"Making a new PostgreSQL {MAJOR} data folder in {location.data} (about 60 MB)")
        _make(location, user, binaries, password)
        location.created()
    _write_settings(location, user)
    return password


def read_password(home: Path) -> str | None:
    """Return the owner's password, or None where it was not made yet. Raises HomeUnusable."""
    try:
        text = read_private(home / PASSWORD)
    except OSError as error:
        raise HomeUnusable(
            f"The password file {home / PASSWORD} cannot be read: {error.strerror}. "
            "Run this command as the user that started Runflow."
        ) from error
    return (text or "").strip() or None


def remove_unfinished(location: Location) -> None:
    """Remove what a start that was killed left of a half-made data folder."""
    for folder in location.folder.glob(f"{_STAGING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _exists(location: Location, user: DatabaseUser) -> bool:
    data = location.data
    if not data.exists() or (data.is_dir() and not any(data.iterdir())):
        return False
    version = data / "PG_VERSION"
    if not version.is_file():
        raise HomeUnusable(
            f"{data} exists but is no PostgreSQL data folder (it has no file PG_VERSION). "
            "Move it away, or put the data folder back from a backup."
        )
    found = version.read_text()[:16].strip()
    if not found.isdecimal():
        raise HomeUnusable(f"The file {version} is damaged. Put {data} back from a backup.")
    if found != str(MAJOR):
        raise other_major_version(location, user, found, OWNER, location.home / PASSWORD)
    return True


def _make(location: Location, user: DatabaseUser, binaries: Binaries, password: str) -> None:
    """Build the folder beside its place and move it there whole: a kill at any point leaves nothing half-made."""
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=location.folder))
    try:
        user.own(staging)
        password_file = staging / "password"
        descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(password + "\n")
        user.own(password_file)
        _initdb(binaries, user, staging / "data", password_file, location)
        with (staging / "data" / "postgresql.conf").open("a") as file:
            file.write(configuration.INCLUDE)
        (staging / "data").rename(location.data)
        sync_folder(location.folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _initdb(binaries: Binaries, user: DatabaseUser, data: Path, password_file: Path, location: Location) -> None:
    command = [
        str(binaries.program("initdb")),
        f"--pgdata={data}",
        f"--username={OWNER}",
        f"--pwfile={password_file}",
        "--auth=scram-sha-256",
        "--auth-local=scram-sha-256",
        "--encoding=UTF8",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--no-instructions",
    ]
    code, said = _run([*command, "--locale=C.UTF-8"], user)
    if code != 0 and "invalid locale" in said:
        # Some systems lack that C library locale; sorting and case rules are the built-in provider's either way.
        code, said = _run([*command, "--locale=C"], user)
    if code != 0:
        raise InitialisationFailed(
            f"A new PostgreSQL data folder could not be made in {location.folder}."
            + explain(said.splitlines()[-6:], location.data, "Nothing was left behind.")
        )


def _set_password(location: Location, user: DatabaseUser, binaries: Binaries, password: str) -> None:
    """Change the password without a running server: the operator who removed the file cannot log in any more."""
    command = [str(binaries.program("postgres")), "--single", "-D", str(location.data), "postgres"]
    code, said = _run(command, user, f"ALTER ROLE {OWNER} PASSWORD '{password}'\n")
    if code != 0 or "ERROR" in said:
        (location.home / PASSWORD).unlink(missing_ok=True)
        lines = said.replace(password, "…").splitlines()[-6:]
        raise InitialisationFailed(
            f"The password of {OWNER} in {location.data} could not be changed."
            + explain(lines, location.data, "The next start tries it again.")
        )


def _run(command: Sequence[str], user: DatabaseUser, script: str | None = None) -> tuple[int, str]:
    """Run a program to its end; a kill of ours kills it. Returns its exit code and everything it said."""
    process = spawn(
        command,
        user,
        when_we_die=signal.SIGKILL,
        stdin=subprocess.DEVNULL if script is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        said, _ = process.communicate(script)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process.returncode, said


def _write_settings(location: Location, user: DatabaseUser) -> None:
    """Replace runflow.conf. The folder is another user's, so nothing that lies there already is opened or followed."""
    path = location.data / configuration.FILE
    temporary = location.data / f"{configuration.FILE}.{secrets.token_hex(4)}.new"
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(configuration.text())
            if user.switch:
                os.fchown(file.fileno(), user.uid, user.gid)
        temporary.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise HomeUnusable(
            f"The settings file {path} cannot be written: {error.strerror}. " + next_step(str(error), location.data)
        ) from error
