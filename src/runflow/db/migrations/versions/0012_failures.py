"""The index of failed runs: see `0012_failures.sql`."""

from runflow.db.migrations.script import run_script

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0012_failures.sql")
