"""Callback secrets, webhooks, and their deliveries: see `0005_webhooks.sql`."""

from runflow.db.migrations.script import run_script

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0005_webhooks.sql")
