import stat
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from runflow.embedded_postgres import EmbeddedPostgres, HomeUnusable, OtherMajorVersion, binaries, cluster
from runflow.embedded_postgres.location import make_home, settle


def test_sorting_and_case_rules_are_postgresqls_own(shared: EmbeddedPostgres) -> None:
    with psycopg.connect(shared.start().url("postgresql")) as connection:
        row = connection.execute(
            "SELECT datlocprovider::text, datlocale, pg_encoding_to_char(encoding) FROM pg_database "
            "WHERE datname = 'runflow'"
        ).fetchone()
        assert row == ("b", "C.UTF-8", "UTF8")
        assert connection.execute("SELECT upper('äé')").fetchone() == ("ÄÉ",)


def test_nothing_but_the_data_folder_is_left(shared: EmbeddedPostgres) -> None:
    names = {path.name for path in shared.home.iterdir()}
    assert names == {"logs", "postgres", "postgres.json", "postgres.lock", "postgres.password", "postgres.socket"}
    assert stat.S_IMODE((shared.home / "postgres").stat().st_mode) == 0o700
    for name in ("postgres.json", "postgres.lock", "postgres.password"):
        assert stat.S_IMODE((shared.home / name).stat().st_mode) == 0o600


def test_what_a_killed_start_left_is_removed(home: Path) -> None:
    make_home(home)
    _, location = settle(home)
    (home / "postgres.new-abc" / "data").mkdir(parents=True)
    cluster.remove_unfinished(location)
    assert list(home.iterdir()) == []


def test_a_folder_without_a_version_is_not_touched(home: Path) -> None:
    make_home(home)
    user, location = settle(home)
    location.data.mkdir()
    user.own(location.data)
    (location.data / "precious").write_text("x")
    with pytest.raises(HomeUnusable, match="is no PostgreSQL data folder"):
        EmbeddedPostgres(home).start()
    (location.data / "PG_VERSION").write_text("oops\n")
    with pytest.raises(HomeUnusable, match="PG_VERSION is damaged"):
        EmbeddedPostgres(home).start()
    assert (location.data / "precious").read_text() == "x"


def test_a_deleted_password_file_is_made_anew_and_the_data_kept(made_home: Path) -> None:
    server = EmbeddedPostgres(made_home)
    with psycopg.connect(server.start().url("postgresql"), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT 7 AS value")
    server.stop()
    old = (made_home / cluster.PASSWORD).read_text()
    (made_home / cluster.PASSWORD).unlink()
    with psycopg.connect(server.start().url("postgresql")) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    assert (made_home / cluster.PASSWORD).read_text() != old
    server.stop()


def test_another_major_version_is_refused_and_the_printed_commands_move_the_data(home: Path) -> None:
    make_home(home)
    user, location = settle(home)
    old = binaries.reachable(binaries.find(16), user)
    (home / cluster.PASSWORD).write_text("old-password\n")
    password_file = home / "pw"
    password_file.write_text("old-password\n")
    staging = home / "made"
    staging.mkdir(mode=0o700)
    user.own(staging)
    user.own(password_file)
    run: dict[str, Any] = {"check": True, "capture_output": True, **user.process_options()}
    initdb: list[Any] = [old.program("initdb"), "-D", staging / "data", "-U", cluster.OWNER, "--auth=scram-sha-256"]
    subprocess.run([*initdb, "--pwfile", password_file, "-E", "UTF8", "--locale=C"], **run)
    single: list[Any] = [old.program("postgres"), "--single", "-D", staging / "data"]
    subprocess.run([*single, "postgres"], input=b"CREATE DATABASE runflow\n", **run)
    subprocess.run([*single, "runflow"], input=b"CREATE TABLE kept AS SELECT 7 AS value\n", **run)
    (staging / "data").rename(location.data)

    with pytest.raises(OtherMajorVersion, match="written by PostgreSQL 16") as refused:
        EmbeddedPostgres(home).start()
    assert (location.data / "PG_VERSION").read_text() == "16\n"

    commands = str(refused.value).split(":\n", 1)[1]
    done = subprocess.run(["/bin/sh", "-e", "-c", commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    server = EmbeddedPostgres(home)
    with psycopg.connect(server.start().url("postgresql")) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (7,)
    server.stop()
    assert (home / "postgres-16" / "PG_VERSION").read_text() == "16\n"
