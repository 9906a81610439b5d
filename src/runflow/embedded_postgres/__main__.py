"""`python -m runflow.embedded_postgres HOME PROGRAM [ARGUMENT …]`: run psql, pg_dump, … against a home's database.

The server is started for as long as the program runs, or used as it is where a Runflow runs it already.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import structlog

from runflow.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError, binaries


def main(arguments: list[str]) -> int:
    """Run one program and return its exit code; 2 for a wrong call, 1 when there is no database to run it on."""
    if len(arguments) < 2:
        sys.stderr.write(f"{(__doc__ or '').strip()}\n")
        return 2
    # Standard output belongs to the program: a dump goes there.
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    home, name, *rest = arguments
    try:
        program = binaries.find().program(name)
        server = EmbeddedPostgres(Path(home), progress=_say)
        environment = os.environ | server.start().environment()
    except EmbeddedPostgresError as error:
        _say(str(error))
        return 1
    try:
        return subprocess.run([program, *rest], env=environment, check=False).returncode
    finally:
        server.stop()


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
