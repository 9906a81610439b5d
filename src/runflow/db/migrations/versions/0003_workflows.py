"""Workflows: public ones, automatic evaluation: see `0003_workflows.sql`."""

from runflow.db.migrations.script import run_script

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0003_workflows.sql")
