"""The embedded PostgreSQL of one RUNFLOW_HOME: start or attach, restart, stop."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import structlog

from runflow.embedded_postgres import binaries, cluster, configuration, leftovers, socket_folder
from runflow.embedded_postgres.connection import ConnectionInfo
from runflow.embedded_postgres.diagnosis import explain, next_step
from runflow.embedded_postgres.errors import ConnectionRefused, HomeUnusable, StartFailed
from runflow.embedded_postgres.location import RECORD as LOCATION_RECORD
from runflow.embedded_postgres.location import Location, make_home, recorded, settle
from runflow.embedded_postgres.ownership import OwnershipLock, ServerRecord, read_record, remove_record
from runflow.embedded_postgres.postmaster import Postmaster
from runflow.embedded_postgres.readiness import Patience, answers
from runflow.embedded_postgres.server_log import ServerLog
from runflow.embedded_postgres.user import DatabaseUser, database_user

_log = structlog.get_logger(__name__)


class EmbeddedPostgres:
    """PostgreSQL for one home: whoever comes first owns and runs it, every other process attaches to it.

    All methods block (call them with asyncio.to_thread) and may be called from any thread. The server ends with the
    process that owns it, even one that is killed; on macOS, which cannot do that, the next start stops what was left.
    """

    def __init__(self, home: Path, *, progress: Callable[[str], None] | None = None) -> None:
        """Remember the home (RUNFLOW_HOME); nothing is touched yet. `progress` gets a line of text now and then."""
        self.home = home.expanduser().resolve()
        self._progress = progress
        self._guard = threading.RLock()
        self._lock = OwnershipLock(self.home)
        self._data_lock: OwnershipLock | None = None
        self._server_log = ServerLog(self.home)
        self._postmaster: Postmaster | None = None
        self._info: ConnectionInfo | None = None
        self._process = 0

    @property
    def owner(self) -> bool:
        """Did this process start the server (and will it stop it)?"""
        return self._postmaster is not None and self._process == os.getpid()

    @property
    def data_dir(self) -> Path:
        """PostgreSQL's data folder; outside of the home where the database user could not reach it there."""
        return recorded(self.home)[0].data

    def start(self) -> ConnectionInfo:
        """Start the server, or attach to the one that another process of this home runs; harmless when running.

        Waits without a limit while a server makes progress. Raises EmbeddedPostgresError in one of its forms.
        """
        with self._guard:
            if self._info is not None and self.alive():
                return self._info
            return self._start()

    def restart(self) -> ConnectionInfo:
        """Replace a server that died or lost its socket, keeping the data; an attached process attaches anew.

        Raises EmbeddedPostgresError in one of its forms.
        """
        with self._guard:
            _log.info("postgres_restarting", home=str(self.home), owner=self.owner)
            return self._start()

    def stop(self) -> None:
        """Shut the server down if this process owns it, and wait for its end; otherwise only forget it."""
        with self._guard:
            # A forked child has our memory, but not our server.
            if not self.owner:
                self._info = None
                return
            self._stop_postmaster()
            with contextlib.suppress(OSError):
                remove_record(self.home)
            if self._info is not None:
                socket_folder.remove(self._info.socket_dir)
            self._info = None
            self._release()
            _log.info("postgres_stopped", home=str(self.home))

    def alive(self) -> bool:
        """Is the server there? The owner looks at process and socket, which is cheap; others ask the server."""
        info, postmaster = self._info, self._postmaster
        if info is None:
            return False
        if self.owner and postmaster is not None:
            return postmaster.running() and socket_folder.socket_path(info.socket_dir).exists()
        return answers(info)

    def erase(self) -> None:
        """Stop the server and delete the database with everything in it: for tests and for uninstalling.

        Raises HomeUnusable when another process owns it.
        """
        with self._guard:
            self.stop()
            if not self.home.is_dir():
                return
            if not self._lock.acquire():
                raise HomeUnusable(
                    f"The database of {self.home} is in use by process {self._lock.holder()}. Stop that first."
                )
            try:
                location, _ = recorded(self.home)
                if location.data.exists():
                    self._lock_data(location)
                    leftovers.stop(location, database_user(location.data), self._report)
                cluster.remove_unfinished(location)
                for folder in (location.data, location.folder / "postgres.socket"):
                    shutil.rmtree(folder, ignore_errors=True)
                if location.folder != self.home:
                    shutil.rmtree(location.folder, ignore_errors=True)
                for name in (cluster.PASSWORD, LOCATION_RECORD):
                    (self.home / name).unlink(missing_ok=True)
                remove_record(self.home)
            finally:
                self._release()

    def _start(self) -> ConnectionInfo:
        make_home(self.home)
        patience = Patience(self._report)
        while not self._lock.acquire():
            info = self._attach()
            if info is not None:
                self._info = info
                return info
            patience.pause(lambda: f"Waiting for the PostgreSQL that process {self._lock.holder()} is starting")
        try:
            return self._start_owned()
        except BaseException as error:
            self._stop_postmaster()
            self._info = None
            self._release()
            if isinstance(error, OSError):
                raise HomeUnusable(
                    f"PostgreSQL could not be started in {self.home}: {error.strerror} ({error.filename}). "
                    + next_step(str(error), self.home)
                ) from error
            raise

    def _attach(self) -> ConnectionInfo | None:
        try:
            record = read_record(self.home)
        except OSError as error:
            raise HomeUnusable(
                f"PostgreSQL of {self.home} is run by process {self._lock.holder()}, and the file that says how to "
                f"reach it cannot be read: {error}. Run this command as the user that started Runflow."
            ) from error
        password = cluster.read_password(self.home)
        if record is None or password is None:
            return None
        info = ConnectionInfo(Path(record.socket_dir), record.port, record.user, password, record.database)
        if not answers(info):
            return None
        try:
            with _connect(info, self.home):
                _log.debug("postgres_attached", home=str(self.home), owner_pid=record.owner_pid)
        except ConnectionRefused:
            if answers(info):
                raise
            return None  # it was just shutting down
        return info

    def _start_owned(self) -> ConnectionInfo:
        self._stop_postmaster()
        remove_record(self.home)
        user, location = settle(self.home)
        self._lock_data(location)
        leftovers.stop(location, user, self._report)
        programs = binaries.reachable(binaries.find(), user)
        password = cluster.prepare(location, user, programs, self._report)
        sockets = socket_folder.prepare(location, user)
        socket_folder.clear(sockets)
        info = ConnectionInfo(sockets, socket_folder.PORT, cluster.OWNER, password, cluster.DATABASE)
        postmaster = self._launch(location, user, programs, sockets)
        self._wait(info, postmaster, location)
        _ensure_database(info, self.home)
        record = ServerRecord(str(sockets), info.port, info.user, info.database, postmaster.pid, os.getpid())
        record.write(self.home)
        self._info = info
        _log.info("postgres_ready", data=str(location.data), pid=postmaster.pid, version=programs.version)
        return info

    def _launch(self, location: Location, user: DatabaseUser, programs: binaries.Binaries, sockets: Path) -> Postmaster:
        arguments = configuration.arguments(location.data, sockets, location.cluster_name)
        self._process = os.getpid()
        self._postmaster = Postmaster([str(programs.program("postgres")), *arguments], user, self._server_log)
        # Where the kernel does not do it for us (macOS), at least an ordinary exit leaves nothing behind.
        atexit.register(self.stop)
        return self._postmaster

    def _wait(self, info: ConnectionInfo, postmaster: Postmaster, location: Location) -> None:
        patience = Patience(self._report)
        while not answers(info):
            if not postmaster.running():
                raise StartFailed(
                    f"The PostgreSQL server on {location.data} ended while it was starting."
                    + explain(self._server_log.tail(), location.data, f"The whole log: {self._server_log.path}.")
                )
            patience.pause(self._starting)

    def _starting(self) -> str:
        said = self._server_log.tail(1)
        return "PostgreSQL is still starting" + (f": {said[0]}" if said else "")

    def _lock_data(self, location: Location) -> None:
        """Lock data that lies outside of the home too: a copied home names the same folder as its original."""
        if location.folder == self.home or self._data_lock is not None:
            return
        lock = OwnershipLock(location.folder)
        if not lock.acquire():
            raise HomeUnusable(
                f"The data folder {location.data} is in use by process {lock.holder()} of another RUNFLOW_HOME, of "
                f"which {self.home} seems to be a copy. Stop that one, or remove {self.home / LOCATION_RECORD} to "
                "start with an empty database."
            )
        self._data_lock = lock

    def _stop_postmaster(self) -> None:
        if self._postmaster is not None and self._process == os.getpid():
            self._postmaster.stop()
        self._postmaster = None
        atexit.unregister(self.stop)

    def _release(self) -> None:
        if self._data_lock is not None:
            self._data_lock.release()
            self._data_lock = None
        self._lock.release()

    def _report(self, message: str) -> None:
        _log.info("postgres_progress", message=message)
        if self._progress is not None:
            self._progress(message)


def _connect(info: ConnectionInfo, home: Path, database: str | None = None) -> psycopg.Connection:
    try:
        return psycopg.connect(
            host=str(info.socket_dir),
            port=info.port,
            user=info.user,
            password=info.password,
            dbname=database or info.database,
            autocommit=True,
            connect_timeout=30,
        )
    except psycopg.OperationalError as error:
        cause = " ".join(str(error).split())
        step = f"Read {ServerLog(home).path}."
        if "password authentication failed" in cause:
            step = (
                f"The password in {home / cluster.PASSWORD} is not the one of this data folder. Put the right file "
                "back, or stop Runflow, remove the file and start again: a new password is set then."
            )
        raise ConnectionRefused(
            f"The PostgreSQL in {home} runs, but refused the connection: {cause}. {step}"
        ) from error


def _ensure_database(info: ConnectionInfo, home: Path) -> None:
    with _connect(info, home, "postgres") as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [info.database]).fetchone()
        if found is None:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(info.database)))
