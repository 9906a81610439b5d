"""Not a test: a process of its own that starts (or attaches to) a home's database, says so, and obeys lines of input.

Usage: python owner_process.py HOME. Answers each step with one JSON line. Commands: start, restart, alive, stop.
"""

import itertools
import json
import sys
from pathlib import Path

import structlog

from runflow.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError


def say(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    server = EmbeddedPostgres(Path(sys.argv[1]))
    for command in itertools.chain(["start"], iter(sys.stdin.readline, "")):
        try:
            match command.strip():
                case "start" | "restart" as name:
                    info = getattr(server, name)()
                    say(url=info.url("postgresql"), owner=server.owner, socket_dir=str(info.socket_dir))
                case "alive":
                    say(alive=server.alive())
                case "stop":
                    server.stop()
                    say(stopped=True)
        except EmbeddedPostgresError as error:
            say(error=type(error).__name__, message=str(error))


main()
