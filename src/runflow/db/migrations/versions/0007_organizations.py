"""Users, members, audit events, idempotency keys, rate limits: see `0007_organizations.sql`."""

from runflow.db.migrations.script import run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0007_organizations.sql")
