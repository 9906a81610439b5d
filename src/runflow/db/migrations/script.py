"""Runs the SQL script of a migration."""

from pathlib import Path

from alembic import op


def run_script(name: str) -> None:
    """Run a script that stands beside this file, e.g. `"0001_foundation.sql"`."""
    script = Path(__file__).with_name(name).read_text()
    # The driver would read the format() directives of the script as its own placeholders.
    op.get_bind().exec_driver_sql(script.replace("%", "%%"))
