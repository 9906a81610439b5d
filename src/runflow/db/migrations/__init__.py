"""Schema migrations: one numbered SQL file each, run in order by Alembic as the owner of the schema."""
