"""The foundation: see `0001_foundation.sql`."""

from runflow.db.migrations.script import run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    run_script("0001_foundation.sql")
