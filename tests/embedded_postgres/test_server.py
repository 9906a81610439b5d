import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runflow.embedded_postgres import (
    ConnectionInfo,
    ConnectionRefused,
    EmbeddedPostgres,
    HomeUnusable,
    InitialisationFailed,
    StartFailed,
    cluster,
    socket_folder,
)

Launch = Callable[..., Any]


def test_start_is_idempotent(shared: EmbeddedPostgres) -> None:
    assert shared.owner
    assert shared.alive()
    assert shared.start() is shared.start()


def test_an_empty_database_for_the_owner(info: ConnectionInfo) -> None:
    with psycopg.connect(info.url("postgresql")) as connection:
        row = connection.execute("SELECT current_user, current_database(), current_setting('server_version_num')")
        user, database, version = row.fetchone() or ("", "", "0")
    assert (user, database, int(version) // 10000) == ("runflow_owner", "runflow", 18)


@pytest.mark.parametrize("password", ["", "wrong"])
@pytest.mark.parametrize("user", ["runflow_owner", "postgres", "root"])
def test_nobody_gets_in_without_the_password(info: ConnectionInfo, user: str, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host=str(info.socket_dir), port=info.port, user=user, password=password, dbname="runflow")


def test_every_rule_asks_for_scram(info: ConnectionInfo) -> None:
    with psycopg.connect(info.url("postgresql")) as connection:
        methods = connection.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall()
    assert methods == [("scram-sha-256",)]


def test_socket_and_data_are_closed_to_the_world(shared: EmbeddedPostgres, info: ConnectionInfo) -> None:
    assert stat.S_IMODE(info.socket_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket_folder.socket_path(info.socket_dir).stat().st_mode) == 0o700
    assert stat.S_IMODE(shared.data_dir.stat().st_mode) == 0o700


@pytest.mark.usefixtures("as_root")
def test_another_user_cannot_even_reach_the_socket(info: ConnectionInfo) -> None:
    program = (
        "import socket, sys\ns = socket.socket(socket.AF_UNIX)\n"
        "try: s.connect(sys.argv[1])\nexcept PermissionError: print('refused')"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program, str(socket_folder.socket_path(info.socket_dir))],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "refused\n", done.stderr


def test_the_password_is_on_no_command_line(shared: EmbeddedPostgres, info: ConnectionInfo) -> None:
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert info.password not in lines
    assert info.password not in (shared.home / "logs" / "postgres.log").read_text()


def test_a_second_object_attaches_and_leaves_the_server_alone(shared: EmbeddedPostgres, info: ConnectionInfo) -> None:
    second = EmbeddedPostgres(shared.home)
    assert second.start() == info
    assert not second.owner
    assert second.alive()
    second.stop()
    assert not second.alive()
    assert shared.alive()


def test_another_process_attaches_and_takes_over_when_the_owner_has_gone(made_home: Path, launch: Launch) -> None:
    server = EmbeddedPostgres(made_home)
    info = server.start()
    with psycopg.connect(info.url("postgresql"), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    other = launch(made_home)
    assert other.answer() == {"url": info.url("postgresql"), "owner": False, "socket_dir": str(info.socket_dir)}
    assert other.ask("alive") == {"alive": True}
    server.stop()
    assert other.ask("alive") == {"alive": False}
    taken = other.ask("restart")
    assert taken["owner"]
    with psycopg.connect(taken["url"]) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    assert not server.owner
    assert server.start().url("postgresql") == taken["url"]
    server.stop()
    assert other.ask("stop") == {"stopped": True}


def test_processes_that_start_together_share_one_server(home: Path, launch: Launch) -> None:
    processes = [launch(home) for _ in range(3)]
    answers = [process.answer() for process in processes]
    assert sorted(answer["owner"] for answer in answers) == [False, False, True]
    assert len({answer["url"] for answer in answers}) == 1
    for process, answer in zip(processes, answers, strict=True):
        if not answer["owner"]:
            process.ask("stop")
    next(p for p, a in zip(processes, answers, strict=True) if a["owner"]).ask("stop")


def test_two_homes_at_the_same_time(shared: EmbeddedPostgres, made_home: Path) -> None:
    with EmbeddedHome(made_home) as info:
        assert info.socket_dir != shared.start().socket_dir
        for each in (info, shared.start()):
            with psycopg.connect(each.url("postgresql")) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


def test_modes_above_the_home_stay_as_they_were(closed_home: Path) -> None:
    folders = [closed_home.parent, *closed_home.parent.parents]
    before = [(folder.stat().st_mode, folder.stat().st_uid, folder.stat().st_gid) for folder in folders]
    closed_home.mkdir(mode=0o750)
    closed_home.chmod(0o750)
    with EmbeddedHome(closed_home):
        pass
    assert [(folder.stat().st_mode, folder.stat().st_uid, folder.stat().st_gid) for folder in folders] == before
    assert stat.S_IMODE(closed_home.stat().st_mode) == 0o750


def test_a_closed_home_works_and_keeps_its_data(closed_home: Path) -> None:
    with EmbeddedHome(closed_home) as info, psycopg.connect(info.url("postgresql"), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    with EmbeddedHome(closed_home) as info, psycopg.connect(info.url("postgresql")) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    data = EmbeddedPostgres(closed_home).data_dir
    assert data.is_relative_to(closed_home) == (os.geteuid() != 0)


@pytest.mark.usefixtures("as_root")
def test_a_copied_home_cannot_touch_the_live_data_of_its_original(closed_home: Path) -> None:
    with EmbeddedHome(closed_home) as info:
        copy = closed_home.with_name("copy")
        shutil.copytree(closed_home, copy, ignore=shutil.ignore_patterns("*.socket"))
        with pytest.raises(HomeUnusable, match="seems to be a copy"):
            EmbeddedPostgres(copy).start()
        with psycopg.connect(info.url("postgresql")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_long_path_of_a_home_works(home: Path) -> None:
    deep = home / ("d" * 90)
    home.mkdir()
    home.chmod(0o711)
    server = EmbeddedPostgres(deep)
    info = server.start()
    try:
        assert not info.socket_dir.is_relative_to(home)
        assert server.alive()
    finally:
        server.erase()
    assert not info.socket_dir.exists()


def test_a_vanished_socket_folder_is_noticed_and_made_again(made_home: Path) -> None:
    server = EmbeddedPostgres(made_home)
    info = server.start()
    shutil.rmtree(info.socket_dir)
    assert not server.alive()
    assert server.start() == info
    assert server.alive()
    server.stop()


def test_a_wrong_password_file_names_the_way_out(made_home: Path) -> None:
    server = EmbeddedPostgres(made_home)
    server.start()
    server.stop()
    (made_home / cluster.PASSWORD).write_text("other\n")
    with pytest.raises(ConnectionRefused, match=r"is not the one of this data folder.*remove the file"):
        server.start()
    assert not server.owner
    (made_home / cluster.PASSWORD).unlink()
    server.start()
    server.stop()


def test_an_opened_data_folder_names_the_command(made_home: Path) -> None:
    server = EmbeddedPostgres(made_home)
    server.start()
    server.stop()
    server.data_dir.chmod(0o777)
    with pytest.raises(StartFailed, match=r"has invalid permissions.*chmod 0700"):
        server.start()
    server.data_dir.chmod(0o700)
    server.start()
    server.stop()


def test_a_setting_that_postgresql_refuses_is_shown(made_home: Path) -> None:
    server = EmbeddedPostgres(made_home)
    server.start()
    server.stop()
    conf = server.data_dir / "postgresql.conf"
    before = conf.read_text()
    conf.write_text(before + "no_such_setting = 1\n")
    with pytest.raises(StartFailed, match=r"no_such_setting.*postgresql\.conf"):
        server.start()
    conf.write_text(before)


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeUnusable, match=r"/home \(RUNFLOW_HOME\) cannot be made"):
        EmbeddedPostgres(tmp_path / "home").start()


@pytest.fixture
def small_disk(home: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a memory disk with the given options as the home."""
    home.mkdir()
    mounted = False

    def mount(options: str) -> Path:
        nonlocal mounted
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0711,{options}", "tmpfs", home], check=False)
        if done.returncode != 0:
            pytest.skip("this machine does not let us mount a memory disk")
        mounted = True
        return home

    yield mount
    if mounted:
        subprocess.run(["umount", home], check=True)


@pytest.mark.chaos
@pytest.mark.usefixtures("as_root")
def test_a_disk_too_small_for_a_new_database(small_disk: Callable[[str], Path]) -> None:
    home = small_disk("size=24m")
    with pytest.raises(InitialisationFailed, match=rf"No space left.*Free space on the disk of {home}"):
        EmbeddedPostgres(home).start()
    assert {path.name for path in home.iterdir()} <= {"postgres.lock", "postgres.password"}


@pytest.mark.chaos
@pytest.mark.usefixtures("as_root")
def test_a_full_disk_at_a_later_start_and_space_again(small_disk: Callable[[str], Path]) -> None:
    home = small_disk("size=120m")
    server = EmbeddedPostgres(home)
    server.start()
    server.stop()
    with pytest.raises(OSError, match="No space left"), (home / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)
    with pytest.raises((StartFailed, HomeUnusable), match="Free space on the disk"):
        server.start()
    (home / "filler").unlink()
    server.start()
    server.stop()


@pytest.mark.chaos
@pytest.mark.usefixtures("as_root")
def test_a_read_only_disk(small_disk: Callable[[str], Path]) -> None:
    home = small_disk("size=1m,ro")
    with pytest.raises(HomeUnusable, match=r"postgres\.lock cannot be opened: Read-only file system"):
        EmbeddedPostgres(home).start()


def test_a_thread_that_ends_does_not_take_the_server_along(made_home: Path) -> None:
    server = EmbeddedPostgres(made_home)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    assert server.alive()
    with psycopg.connect(server.start().url("postgresql")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    server.stop()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_stop_the_server_of_its_parent(shared: EmbeddedPostgres) -> None:
    child = os.fork()
    if child == 0:
        shared.stop()
        os._exit(1 if shared.owner else 0)
    assert os.waitpid(child, 0)[1] == 0
    assert shared.alive()


def test_progress_is_said(home: Path) -> None:
    said: list[str] = []
    server = EmbeddedPostgres(home, progress=said.append)
    server.start()
    server.stop()
    assert said == [f"Making a new PostgreSQL 18 data folder in {home}/postgres (about 60 MB)"]


def test_erase_removes_everything_but_the_logs(closed_home: Path) -> None:
    server = EmbeddedPostgres(closed_home)
    server.start()
    data = server.data_dir
    server.erase()
    server.erase()
    assert not data.exists()
    assert {path.name for path in closed_home.iterdir()} == {"logs", "postgres.lock"}


def test_erase_refuses_while_another_process_uses_it(shared: EmbeddedPostgres) -> None:
    with pytest.raises(HomeUnusable, match="is in use by process"):
        EmbeddedPostgres(shared.home).erase()
    assert shared.alive()


class EmbeddedHome:
    """A server for the length of a with block."""

    def __init__(self, home: Path) -> None:
        self.server = EmbeddedPostgres(home)

    def __enter__(self) -> ConnectionInfo:
        return self.server.start()

    def __exit__(self, *exception: object) -> None:
        self.server.stop()
