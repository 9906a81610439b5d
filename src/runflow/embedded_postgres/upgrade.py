"""What to do with a data folder of another major version: the exact commands, because nothing is converted silently."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from runflow.embedded_postgres import binaries
from runflow.embedded_postgres.errors import BinariesUnavailable, OtherMajorVersion
from runflow.embedded_postgres.location import Location
from runflow.embedded_postgres.socket_folder import PORT, prepare
from runflow.embedded_postgres.user import DatabaseUser


def other_major_version(
    location: Location, user: DatabaseUser, found: str, owner: str, password_file: Path
) -> OtherMajorVersion:
    """Return the refusal of a data folder of major version `found`, with the commands that dump and restore it."""
    home, data = (shlex.quote(str(path)) for path in (location.home, location.data))
    aside = shlex.quote(f"{location.data}-{found}")
    dump = shlex.quote(str(location.home / f"postgres-{found}.sql"))
    sockets = prepare(location, user)
    old = shlex.quote(str(_programs(found, user)))
    become = f"setpriv --reuid={user.uid} --regid={user.gid} --clear-groups " if user.switch else ""
    options = shlex.quote(f"-c listen_addresses= -c port={PORT} -c unix_socket_directories={sockets}")
    commands = [
        f"(cd / && {become}{old}/pg_ctl start -w -D {data} -l /dev/null -o {options})",
        f"(umask 077 && PGPASSWORD=$(cat {shlex.quote(str(password_file))}) "
        f"{old}/pg_dumpall -h {shlex.quote(str(sockets))} -p {PORT} -U {owner} -f {dump})",
        f"(cd / && {become}{old}/pg_ctl stop -w -m fast -D {data})",
        f"mv {data} {aside}",
        f"{shlex.quote(sys.executable)} -P -m runflow.embedded_postgres {home} psql -X -q -f {dump}",
    ]
    return OtherMajorVersion(
        f"The data folder {location.data} was written by PostgreSQL {found}, and this Runflow runs PostgreSQL "
        f"{binaries.MAJOR}, which cannot read it. Nothing was changed. Move the data over with these commands "
        "(messages that a role or database already exists are expected), then start again:\n" + "\n".join(commands)
    )


def _programs(found: str, user: DatabaseUser) -> Path:
    """Return the folder of that version's programs: the wheel carries some older ones; else where a system has them."""
    try:
        return binaries.reachable(binaries.find(int(found)), user).bin
    except (BinariesUnavailable, ValueError):
        return Path(f"/usr/lib/postgresql/{found}/bin")
