"""Balances, budgets, usage per day: see `0008_metering.sql`."""

from runflow.db.migrations.script import run_script

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0008_metering.sql")
