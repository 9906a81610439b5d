"""Kills: of the owner, of the server, in the middle of making a data folder."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from runflow.embedded_postgres import EmbeddedPostgres, socket_folder
from runflow.embedded_postgres.location import settle

Launch = Callable[..., Any]
pytestmark = pytest.mark.chaos


def test_a_killed_owner_takes_its_server_along_and_a_new_start_has_the_data(
    made_home: Path, launch: Launch, wait_until: Callable[..., Any], server_processes: Callable[..., Any]
) -> None:
    owner = launch(made_home)
    url = owner.answer()["url"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
        assert len(server_processes(made_home / "postgres")) > 3
        owner.kill()
        wait_until(lambda: not server_processes(made_home / "postgres"))
    log = (made_home / "logs" / "postgres.log").read_text()
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log
    server = EmbeddedPostgres(made_home)
    info = server.start()
    assert server.owner
    with psycopg.connect(info.url("postgresql")) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    server.stop()


def test_a_start_right_after_a_kill_waits_for_the_old_server(made_home: Path, launch: Launch) -> None:
    for _ in range(3):
        owner = launch(made_home)
        url = owner.answer()["url"]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS counted (value int)")
            connection.execute("INSERT INTO counted VALUES (1)")
            owner.kill()
    server = EmbeddedPostgres(made_home)
    with psycopg.connect(server.start().url("postgresql")) as connection:
        assert connection.execute("SELECT count(*) FROM counted").fetchone() == (3,)
    server.stop()


def test_a_server_that_nobody_owns_is_stopped_and_started_anew(
    made_home: Path, launch: Launch, wait_until: Callable[..., Any], server_processes: Callable[..., Any]
) -> None:
    # What macOS leaves after a kill of the owner: the same server, started by nobody that still lives.
    owner = launch(made_home)
    owner.answer()
    postmaster = next(p for p in server_processes(made_home / "postgres") if "-D" in p.cmdline())
    command = postmaster.cmdline()
    owner.ask("stop")
    user, location = settle(made_home)
    socket_folder.prepare(location, user)
    orphan = psutil.Popen(command, **user.process_options())
    try:
        wait_until(lambda: (location.data / "postmaster.pid").exists())
        said: list[str] = []
        server = EmbeddedPostgres(made_home, progress=said.append)
        info = server.start()
        assert server.owner
        assert orphan.wait(60) == 0
        assert any("an earlier Runflow left running" in line for line in said)
        with psycopg.connect(info.url("postgresql")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        server.stop()
    finally:
        if orphan.is_running():
            orphan.kill()


def test_a_killed_postmaster_is_replaced_and_nothing_committed_is_lost(
    made_home: Path, server_processes: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    server = EmbeddedPostgres(made_home)
    info = server.start()
    with psycopg.connect(info.url("postgresql"), autocommit=True) as busy:
        busy.execute("DROP TABLE IF EXISTS kept")
        busy.execute("CREATE TABLE kept AS SELECT 7 AS value")
        postmaster = next(p for p in server_processes(made_home / "postgres") if "-D" in p.cmdline())
        postmaster.send_signal(signal.SIGKILL)
        wait_until(lambda: not server.alive())
        assert server.restart() == info
    assert server.owner
    with psycopg.connect(info.url("postgresql")) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    server.stop()
    assert server_processes(made_home / "postgres") == []


def test_children_that_a_killed_postmaster_left_computing_are_ended(
    made_home: Path, server_processes: Callable[..., Any], wait_until: Callable[..., Any]
) -> None:
    server = EmbeddedPostgres(made_home)
    info = server.start()
    connection = psycopg.connect(info.url("postgresql"), autocommit=True)
    connection.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 20000000000)")
    busy = wait_until(
        lambda: [p for p in server_processes(made_home / "postgres") if p.cmdline()[0].endswith("SELECT")]
    )
    postmaster = next(p for p in server_processes(made_home / "postgres") if "-D" in p.cmdline())
    postmaster.kill()
    wait_until(lambda: not server.alive())
    assert server.restart() == info
    assert not busy[0].is_running() or busy[0].status() == psutil.STATUS_ZOMBIE
    connection.close()
    server.stop()


@pytest.mark.parametrize("after", [0.05, 0.15, 0.25, 0.35, 0.45])
def test_a_first_start_that_is_killed_leaves_nothing_half_made(
    home: Path, launch: Launch, after: float, wait_until: Callable[..., Any], server_processes: Callable[..., Any]
) -> None:
    owner = launch(home)
    # Counted from the first trace of the start, not from that of the interpreter.
    wait_until((home / "postgres.password").exists)
    time.sleep(after)
    owner.kill()
    wait_until(lambda: not server_processes(home))
    assert not (home / "postgres").exists() or (home / "postgres" / "PG_VERSION").exists()
    server = EmbeddedPostgres(home)
    with psycopg.connect(server.start().url("postgresql")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not list(home.glob("postgres.new-*"))
    server.stop()


def test_a_killed_attached_process_changes_nothing(made_home: Path, launch: Launch) -> None:
    server = EmbeddedPostgres(made_home)
    server.start()
    other = launch(made_home)
    assert not other.answer()["owner"]
    other.kill()
    assert server.alive()
    server.stop()
