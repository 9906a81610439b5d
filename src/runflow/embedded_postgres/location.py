"""Where one home's data folder is: in the home, unless the database user cannot reach it there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from runflow.embedded_postgres import binaries
from runflow.embedded_postgres.errors import ANOTHER_DATABASE, HomeUnusable
from runflow.embedded_postgres.private_file import read_private, write_private
from runflow.embedded_postgres.user import DatabaseUser, database_user

RECORD = "postgres.location"


@dataclass(frozen=True, slots=True)
class Location:
    """The folder that holds the data folder and, if its path is short enough, the socket folder."""

    home: Path
    folder: Path

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder."""
        return self.folder / "postgres"

    @property
    def cluster_name(self) -> str:
        """A name that is ours alone on this machine; PostgreSQL shows it in the title of each of its processes."""
        return "runflow-" + hashlib.sha256(os.fsencode(self.data)).hexdigest()[:10]

    def created(self) -> None:
        """Remember that the data folder exists now, so that its loss is noticed later. Raises OSError."""
        if self.folder != self.home:
            _record(self, created=True)


def make_home(home: Path) -> None:
    """Make the home folder if it is missing, closed to others; an existing one stays as it is. Raises HomeUnusable.

    As root others may pass through it (0711), so that the data folder in it can belong to the database user.
    """
    try:
        if not home.is_dir():
            home.mkdir(parents=True, mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
    except OSError as error:
        raise HomeUnusable(
            f"The folder {home} (RUNFLOW_HOME) cannot be made: {error.strerror}. "
            "Make it yourself and give it to the user that runs Runflow, or choose another RUNFLOW_HOME."
        ) from error


def settle(home: Path) -> tuple[DatabaseUser, Location]:
    """Return the database user and the place of the data, deciding both on the first start of this home.

    Raises HomeUnusable, DatabaseUserUnavailable, OSError.
    """
    location, created = recorded(home)
    user = database_user(location.data)
    if location.data.exists():
        if user.switch and not user.can_enter(location.data):
            raise HomeUnusable(
                f"The user {user.name}, which PostgreSQL runs as, cannot reach the data folder {location.data}: "
                f"a folder above it was closed. Let it pass: chmod o+x {location.folder} (and the folders above)."
            )
        return user, location
    if created:
        raise HomeUnusable(
            f"The data folder {location.data}, which {home / RECORD} names, is gone. Put it back from a backup, "
            f"or, to start with an empty database, remove {home / RECORD}."
        )
    if location.folder == home and user.switch and not user.can_enter(home):
        location = Location(home=home, folder=binaries.SYSTEM_ROOT / f"home-{secrets.token_hex(4)}")
        # Recorded before anything is made there: a start that is killed leaves no folder that nobody knows.
        _record(location, created=False)
    if location.folder != home:
        _make_folder(location, user)
    return user, location


def recorded(home: Path) -> tuple[Location, bool]:
    """Return the place that an earlier start chose (else the home itself), and whether data was made elsewhere.

    Raises HomeUnusable, OSError.
    """
    path = home / RECORD
    text = read_private(path)
    if text is None:
        return Location(home=home, folder=home), False
    try:
        values = json.loads(text)
        return Location(home=home, folder=Path(values["folder"])), bool(values["created"])
    except (ValueError, KeyError, TypeError) as error:
        raise HomeUnusable(
            f"The file {path}, which names the folder of the database, is damaged ({error}). Put it back from a "
            f"backup; the folders to choose from are in {binaries.SYSTEM_ROOT}."
        ) from error


def _record(location: Location, *, created: bool) -> None:
    write_private(location.home / RECORD, json.dumps({"folder": str(location.folder), "created": created}) + "\n")


def _make_folder(location: Location, user: DatabaseUser) -> None:
    try:
        binaries.make_traversable(binaries.SYSTEM_ROOT)
        binaries.make_traversable(location.folder)
        # For the operator who wonders whose database this is; nothing reads it.
        (location.folder / "home").write_text(f"{location.home}\n")
        reached = user.can_enter(location.folder)
    except OSError as error:
        raise _unreachable(location, user, f"{location.folder} cannot be made: {error.strerror}") from error
    if not reached:
        raise _unreachable(location, user, f"{location.folder} is closed to it too")


def _unreachable(location: Location, user: DatabaseUser, cause: str) -> HomeUnusable:
    return HomeUnusable(
        f"The user {user.name}, which PostgreSQL runs as because it refuses to run as root, cannot enter "
        f"{location.home}, and {cause}. Let it pass (chmod o+x on {location.home} and the folders above), "
        f"start Runflow as a plain user, {ANOTHER_DATABASE}."
    )
