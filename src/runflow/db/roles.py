"""The database roles, made once per installation.

`runflow_api` serves requests and sees one tenant; `runflow_system` claims, completes, delivers and sweeps; the user of
the database URL owns the schema and migrates it. Passwords are derived from the master key, so every server process
knows them and none is stored.
"""

from psycopg import AsyncConnection, sql

from runflow.master_key import MasterKey

API = "runflow_api"
SYSTEM = "runflow_system"


def password(key: MasterKey, role: str) -> str:
    """Return the role's password under this master key."""
    return key.derive(f"database/{role}").hex()


async def provision(connection: AsyncConnection, key: MasterKey) -> None:
    """Create both roles where they are missing and set their passwords.

    The password travels as a SCRAM verifier, so it cannot end in a server log.
    """
    for role in (API, SYSTEM):
        found = await (await connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])).fetchone()
        if found is None:
            await connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        verifier = connection.pgconn.encrypt_password(password(key, role).encode(), role.encode(), b"scram-sha-256")
        await connection.execute(
            sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )
        await connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                sql.Identifier(connection.info.dbname), sql.Identifier(role)
            )
        )
