"""The server process: a direct child that ends, cleanly, when this process ends."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import threading
from collections.abc import Sequence

from runflow.embedded_postgres.child import spawn
from runflow.embedded_postgres.server_log import ServerLog
from runflow.embedded_postgres.user import DatabaseUser

_LOG_CHECK_SECONDS = 60.0
_FAST_SECONDS = 60.0
_IMMEDIATE_SECONDS = 15.0


class Postmaster:
    """One run of `postgres`. Make it, wait until it is ready, stop it; a new run is a new object."""

    def __init__(self, command: Sequence[str], user: DatabaseUser, log: ServerLog) -> None:
        """Start the process. Raises BinariesUnavailable, DatabaseUserUnavailable, HomeUnusable."""
        self._log = log
        self._ended = threading.Event()
        outcome: queue.SimpleQueue[subprocess.Popen[str] | BaseException] = queue.SimpleQueue()
        # The kernel ties the child to the thread that started it, and callers start us from threads that come and go.
        self._keeper = threading.Thread(
            target=self._keep, args=(command, user, outcome), name="postgres-keeper", daemon=True
        )
        self._keeper.start()
        try:
            started = outcome.get()
        except BaseException:  # Ctrl-C in this very moment
            late = outcome.get()
            if not isinstance(late, BaseException):
                self._process = late
                self.stop()
            raise
        if isinstance(started, BaseException):
            raise started
        self._process = started

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def running(self) -> bool:
        """Say whether the server process exists (not whether it answers)."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Shut down fast (open transactions are rolled back) and wait; harmless when it has ended.

        A shutdown that takes longer than a minute is made an immediate one, which the next start recovers from.
        """
        for step, seconds in ((signal.SIGINT, _FAST_SECONDS), (signal.SIGQUIT, _IMMEDIATE_SECONDS)):
            if not self.running():
                break
            self._process.send_signal(step)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue
        if self.running():
            self._process.kill()
            self._process.wait()
        self._ended.set()
        self._keeper.join()

    def _keep(
        self,
        command: Sequence[str],
        user: DatabaseUser,
        outcome: queue.SimpleQueue[subprocess.Popen[str] | BaseException],
    ) -> None:
        try:
            descriptor = self._log.open()
            outcome.put(spawn(command, user, when_we_die=signal.SIGINT, stdout=descriptor, stderr=descriptor))
        except BaseException as error:
            self._log.close()
            outcome.put(error)
            return
        while not self._ended.wait(_LOG_CHECK_SECONDS):
            # Whatever the disk says: the server ends with this thread.
            with contextlib.suppress(OSError):
                self._log.bound()
        self._log.close()
