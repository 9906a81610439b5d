"""Waiting until a server answers, for as long as it makes progress: crash recovery of a large log takes its time."""

from __future__ import annotations

import time
from collections.abc import Callable

from psycopg.pq import PGconn, Ping

from runflow.embedded_postgres.connection import ConnectionInfo

_FIRST_DELAY = 0.01
_LONGEST_DELAY = 0.25
_QUIET_SECONDS = 2.0
_REPORT_SECONDS = 5.0


class Patience:
    """Sleeps between attempts, a little longer each time, and reports now and then what is being waited for."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._began = time.monotonic()
        self._next_report = self._began + _QUIET_SECONDS
        self._delay = _FIRST_DELAY

    def pause(self, waiting_for: Callable[[], str]) -> None:
        """Sleep once; `waiting_for` is only asked when it is time to say something."""
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + _REPORT_SECONDS
            self._report(f"{waiting_for()} ({now - self._began:.0f} s so far)")
        time.sleep(self._delay)
        self._delay = min(self._delay * 1.3, _LONGEST_DELAY)


def answers(info: ConnectionInfo) -> bool:
    """Ask like pg_isready does: is there a server that accepts connections? Needs no password, leaves no log line."""
    address = f"host='{_quoted(str(info.socket_dir))}' port={info.port} connect_timeout=3 dbname=postgres user=ready"
    return PGconn.ping(address.encode()) == Ping.OK


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
