"""Batches and what runs need for reruns, logs and events: see `0004_batches.sql`."""

from runflow.db.migrations.script import run_script

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0004_batches.sql")
