from pathlib import Path

import psycopg

from runflow.embedded_postgres import ConnectionInfo, EmbeddedPostgres, configuration


def test_every_setting_is_in_effect(info: ConnectionInfo) -> None:
    with psycopg.connect(info.url("postgresql")) as connection:
        wrong = connection.execute(
            "SELECT name, setting, error FROM pg_file_settings WHERE sourcefile LIKE '%%runflow.conf' AND NOT applied"
        ).fetchall()
        applied = connection.execute(
            "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%%runflow.conf' AND applied"
        ).fetchone()
    assert wrong == []
    assert applied == (len(configuration.SETTINGS),)


def test_an_acknowledged_commit_is_on_disk(info: ConnectionInfo) -> None:
    with psycopg.connect(info.url("postgresql")) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",)


def test_nothing_listens_on_the_network(info: ConnectionInfo) -> None:
    with psycopg.connect(info.url("postgresql")) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW unix_socket_directories").fetchone() == (f'"{info.socket_dir}"',)


def test_an_operators_setting_wins_and_survives_a_restart(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start()
    with (server.data_dir / "postgresql.conf").open("a") as file:
        file.write("work_mem = '5MB'\n")
    info = server.restart()
    with psycopg.connect(info.url("postgresql"), autocommit=True) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)
        connection.execute("ALTER SYSTEM SET listen_addresses = '127.0.0.1'")
        connection.execute("ALTER SYSTEM SET work_mem = '6MB'")
    info = server.restart()
    with psycopg.connect(info.url("postgresql")) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("6MB",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    server.stop()
