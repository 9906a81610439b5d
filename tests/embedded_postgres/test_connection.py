from pathlib import Path

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from runflow.embedded_postgres import ConnectionInfo

INFO = ConnectionInfo(Path("/tmp/a b/ü%"), 5432, "runflow_owner", "p@ss/w:rd?%", "runflow")


def test_sqlalchemy_reads_the_url_back() -> None:
    url = make_url(INFO.url())
    assert (url.drivername, url.username, url.password) == ("postgresql+psycopg", "runflow_owner", "p@ss/w:rd?%")
    assert (url.host, url.database) == (None, "runflow")
    assert url.query == {"host": "/tmp/a b/ü%", "port": "5432"}


def test_libpq_reads_the_url_back() -> None:
    assert conninfo_to_dict(INFO.url("postgresql")) == {
        "host": "/tmp/a b/ü%",
        "port": "5432",
        "user": "runflow_owner",
        "password": "p@ss/w:rd?%",
        "dbname": "runflow",
    }


def test_the_password_is_not_shown() -> None:
    assert "p@ss" not in repr(INFO)
    assert "p@ss" not in str(INFO)


def test_programs_get_everything_from_their_environment() -> None:
    assert INFO.environment() == {
        "PGHOST": "/tmp/a b/ü%",
        "PGPORT": "5432",
        "PGUSER": "runflow_owner",
        "PGPASSWORD": "p@ss/w:rd?%",
        "PGDATABASE": "runflow",
    }
