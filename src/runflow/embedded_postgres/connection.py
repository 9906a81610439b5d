"""How to reach the embedded PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """Address and credentials of one embedded PostgreSQL; there is no TCP port, only a Unix socket."""

    socket_dir: Path
    port: int
    user: str
    password: str = field(repr=False)
    database: str

    def url(self, driver: str = "postgresql+psycopg") -> str:
        """Return the URL for SQLAlchemy, or with `driver="postgresql"` for libpq and psycopg. It holds the password."""
        place = urlencode({"host": str(self.socket_dir), "port": self.port}, quote_via=quote)
        return f"{driver}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@/{quote(self.database)}?{place}"

    def environment(self) -> dict[str, str]:
        """Return the variables that PostgreSQL's own programs (psql, pg_dump, …) read."""
        return {
            "PGHOST": str(self.socket_dir),
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
        }
