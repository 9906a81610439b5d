"""How a tenant's table is made: one procedure, used by every later migration: see `0002_tenant_tables.sql`."""

from runflow.db.migrations.script import run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0002_tenant_tables.sql")
