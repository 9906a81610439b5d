import os
from pathlib import Path

import pytest

from runflow.embedded_postgres import DatabaseUserUnavailable, HomeUnusable, user
from runflow.embedded_postgres.user import DatabaseUser, database_user

NOBODY = DatabaseUser(name="nobody", uid=65534, gid=65534, switch=True)


@pytest.mark.usefixtures("as_root")
def test_root_gets_a_user_that_nobody_can_log_in_as(tmp_path: Path) -> None:
    found = database_user(tmp_path / "missing")
    assert found.switch
    assert found.uid != 0
    assert database_user(tmp_path / "missing") == found


@pytest.mark.usefixtures("as_root")
def test_data_stays_with_the_user_that_made_it(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    assert (database_user(tmp_path).uid, database_user(tmp_path).switch) == (65534, True)


@pytest.mark.usefixtures("as_root")
def test_data_that_belongs_to_root_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HomeUnusable, match=r"belongs to root.*chown -R runflow-db"):
        database_user(tmp_path)


@pytest.mark.usefixtures("as_root")
def test_another_user_stands_in_and_failing_that_the_commands_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user, "DEDICATED", "rf-never-made")
    monkeypatch.setattr(user, "_make", lambda name: "useradd: cannot lock /etc/passwd")
    monkeypatch.setattr(user, "_STAND_INS", ("rf-missing", "nobody"))
    assert database_user(tmp_path / "missing").name == "nobody"
    monkeypatch.setattr(user, "_STAND_INS", ("rf-missing",))
    with pytest.raises(DatabaseUserUnavailable, match=r"cannot lock /etc/passwd.*useradd --system rf-never-made"):
        database_user(tmp_path / "missing")


@pytest.mark.usefixtures("as_root")
def test_what_a_user_can_enter_and_run_is_asked_of_the_system(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    script = closed / "program"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    assert NOBODY.can_enter(Path("/tmp"))
    assert not NOBODY.can_enter(closed)
    assert not NOBODY.can_run(script)
    assert not NOBODY.can_run(closed / "missing")
    us = DatabaseUser(name="us", uid=0, gid=0, switch=False)
    assert us.can_enter(closed)
    assert us.can_run(script)


def test_root_without_the_right_to_change_user_gets_the_next_step() -> None:
    message = str(NOBODY.not_allowed(PermissionError(1, "Operation not permitted")))
    assert "SETUID" in message
    assert "RUNFLOW_DATABASE_URL" in message
