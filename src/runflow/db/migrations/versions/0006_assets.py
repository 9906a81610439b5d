"""Asset folders, thumbnails, retention: see `0006_assets.sql`."""

from runflow.db.migrations.script import run_script

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0006_assets.sql")
