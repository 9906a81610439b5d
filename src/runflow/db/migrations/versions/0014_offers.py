"""Unanswered offers: see `0014_offers.sql`."""

from runflow.db.migrations.script import run_script

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0014_offers.sql")
