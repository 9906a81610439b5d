"""Limits of organizations and the tokens of workers: see `0011_limits.sql`."""

from runflow.db.migrations.script import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0011_limits.sql")
