"""Uploaded models and the sessions that bring them: see `0010_models.sql`."""

from runflow.db.migrations.script import run_script

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0010_models.sql")
