"""Files that came inside requests: see `0015_inline_files.sql`."""

from runflow.db.migrations.script import run_script

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the script."""
    run_script("0015_inline_files.sql")
