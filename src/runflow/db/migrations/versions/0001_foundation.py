"""The foundation: see `0001_foundation.sql`."""

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    script = Path(__file__).parent.with_name("0001_foundation.sql").read_text()
    # The driver would read the format() directives of the script as its own placeholders.
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
