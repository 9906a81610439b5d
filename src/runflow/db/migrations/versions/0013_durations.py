"""The index of runs by duration: see `0013_durations.sql`."""

from runflow.db.migrations.script import run_script

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0013_durations.sql")
