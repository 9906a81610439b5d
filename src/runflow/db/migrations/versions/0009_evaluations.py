"""Evaluations, judges, issues, feedback: see `0009_evaluations.sql`."""

from runflow.db.migrations.script import run_script

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0009_evaluations.sql")
