"""The database roles, made once per installation.

`runflow_api` serves requests and sees one tenant; `runflow_system` claims, completes, delivers and sweeps; the user of
the database URL owns the schema and migrates it. Passwords are derived from the master key, so every server process
knows them and none is stored.
"""

from psycopg import AsyncConnection, sql

from runflow.db.exclusive import servers_run
from runflow.master_key import MasterKey

API = "runflow_api"
SYSTEM = "runflow_system"


_KEY_NOTE = "Runflow: its password comes from the master key {}"
"""The comment on each role; the master key's id tells nothing else about it."""
_NOTES = "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = ANY(%s)"


class OtherKeyInForce(Exception):
    """Servers run on this database with another master key, and would be shut out. Nothing was changed.

    Give this command theirs: the same RUNFLOW_SECRET_KEY, or the RUNFLOW_HOME with their secret.key.
    """

    def __str__(self) -> str:
        return " ".join((type(self).__doc__ or "").split())


def password(key: MasterKey, role: str) -> str:
    """Return the role's password under this master key."""
    return key.derive(f"database/{role}").hex()


async def provision(connection: AsyncConnection, key: MasterKey) -> None:
    """Create both roles where they are missing and set their passwords, all or nothing.

    The password travels as a SCRAM verifier, so it cannot end in a server log. Raises `OtherKeyInForce` while servers
    run that know the passwords of another master key.
    """
    note = _KEY_NOTE.format(key.id.hex())
    found = await (await connection.execute(_NOTES, [[API, SYSTEM]])).fetchall()
    notes: dict[str, str | None] = {row[0]: row[1] for row in found}
    if any(noted not in (None, note) for noted in notes.values()) and await servers_run(connection):
        raise OtherKeyInForce
    async with connection.transaction():
        for role in (API, SYSTEM):
            name = sql.Identifier(role)
            if role not in notes:
                await connection.execute(sql.SQL("CREATE ROLE {}").format(name))
            verifier = connection.pgconn.encrypt_password(password(key, role).encode(), role.encode(), b"scram-sha-256")
            await connection.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(verifier.decode()))
            )
            await connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(note)))
            await connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(connection.info.dbname), name)
            )
