"""The system user that PostgreSQL runs as: ourselves, or as root (which PostgreSQL refuses) a user of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from runflow.embedded_postgres.errors import ANOTHER_DATABASE, DatabaseUserUnavailable, HomeUnusable

DEDICATED = "runflow-db"
_STAND_INS = ("postgres", "_postgres", "nobody")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DatabaseUser:
    """A uid and gid, and whether processes must be switched to it (`switch`, only true as root)."""

    name: str
    uid: int
    gid: int
    switch: bool

    def process_options(self) -> dict[str, Any]:
        """Return the arguments of subprocess.Popen that start a process as this user, outside of any folder of ours."""
        options: dict[str, Any] = {"cwd": "/", "umask": 0o077}
        if self.switch:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def can_enter(self, folder: Path) -> bool:
        """Say whether this user can make `folder` its working folder (asked of the kernel, so access lists count)."""
        return self._succeeds(["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)])

    def can_run(self, program: Path) -> bool:
        """Say whether this user can execute `program --version`."""
        return self._succeeds([str(program), "--version"])

    def own(self, path: Path) -> None:
        """Give a file or folder that we have just made to this user. Raises OSError."""
        if self.switch:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def _succeeds(self, command: list[str]) -> bool:
        try:
            done = subprocess.run(command, capture_output=True, check=False, timeout=60, **self.process_options())
        except OSError as error:
            # Popen reports a uid that it may not switch to and a program that it may not execute alike;
            # only the second one comes with the program's name.
            if self.switch and error.filename != command[0]:
                raise self.not_allowed(error) from error
            return False
        return done.returncode == 0

    def not_allowed(self, error: OSError) -> DatabaseUserUnavailable:
        """Return the error for a root that may not become this user (a container without CAP_SETUID and CAP_SETGID)."""
        return DatabaseUserUnavailable(
            f"PostgreSQL refuses to run as root, and this root may not start a process as user {self.name} "
            f"(uid {self.uid}): {error.strerror}. Start Runflow as a plain user, allow SETUID, SETGID and CHOWN to "
            f"this container, {ANOTHER_DATABASE}."
        )


def database_user(data: Path) -> DatabaseUser:
    """Return the user for the data folder `data`, which need not exist yet; as root a user is made when missing.

    An existing data folder belongs to whoever made it, and stays with them.
    Raises DatabaseUserUnavailable, HomeUnusable.
    """
    us = os.geteuid()
    try:
        owner = data.stat()
    except FileNotFoundError:
        return _dedicated() if us == 0 else _user(us, os.getegid(), switch=False)
    except OSError as error:
        raise HomeUnusable(
            f"The data folder {data} cannot be read: {error.strerror}. Start Runflow as the user that made it."
        ) from error
    if owner.st_uid == 0:
        raise HomeUnusable(
            f"The data folder {data} belongs to root, and PostgreSQL refuses to run as root. "
            f"Give it back to its user: chown -R {DEDICATED} {data}"
        )
    if us not in (0, owner.st_uid):
        raise HomeUnusable(
            f"The data folder {data} belongs to user {_name(owner.st_uid)}, and Runflow was started as {_name(us)}. "
            f"Start it as {_name(owner.st_uid)} or as root, or choose another RUNFLOW_HOME."
        )
    return _user(owner.st_uid, owner.st_gid, switch=us == 0)


def _user(uid: int, gid: int, *, switch: bool) -> DatabaseUser:
    return DatabaseUser(name=_name(uid), uid=uid, gid=gid, switch=switch)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _dedicated() -> DatabaseUser:
    failure = "" if _exists(DEDICATED) else _make(DEDICATED)
    for name in (DEDICATED, *_STAND_INS):
        if not _exists(name):
            continue
        entry = pwd.getpwnam(name)
        if name != DEDICATED:
            _log.warning(
                "database_user_is_shared",
                user=name,
                cause=f"the user {DEDICATED} could not be made: {failure}",
                next_step=f"make it (useradd --system {DEDICATED}) before the first start with another RUNFLOW_HOME",
            )
        return DatabaseUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid, switch=True)
    raise DatabaseUserUnavailable(
        f"PostgreSQL refuses to run as root, and the system user {DEDICATED} could not be made ({failure}). "
        f"Make it (useradd --system {DEDICATED}), start Runflow as a plain user, {ANOTHER_DATABASE}."
    )


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _make(name: str) -> str:
    """Make a system user that nobody can log in as; returns why it did not work, or an empty text."""
    nologin = shutil.which("nologin", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/bin/false"
    commands = {
        "useradd": ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", nologin],
        # Debian's adduser, then the one of BusyBox.
        "adduser": ["--system", "--group", "--no-create-home", "--home", "/nonexistent", "--shell", nologin],
        "busybox": ["adduser", "-S", "-D", "-H", "-h", "/nonexistent", "-s", nologin],
    }
    reasons = []
    for program, arguments in commands.items():
        path = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
        if path is None:
            continue
        done = subprocess.run([path, *arguments, name], capture_output=True, text=True, check=False, timeout=60)
        # Another Runflow on this machine may have made it in the same moment.
        if _exists(name):
            _log.info("database_user_made", user=name)
            return ""
        reasons.append(f"{program}: {' '.join(done.stderr.split()) or done.returncode}")
    return "; ".join(reasons) or "neither useradd nor adduser was found"
