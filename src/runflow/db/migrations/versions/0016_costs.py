"""The index of runs by cost: see `0016_costs.sql`."""

from runflow.db.migrations.script import run_script

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0016_costs.sql")
