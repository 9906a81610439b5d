"""The same as a plain user, from a root test run: a process under another uid with a home that it owns."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

UID = 65534


@pytest.fixture
def plain(home: Path, launch: Callable[..., Any], plain_python: str | None) -> Iterator[Callable[..., Any]]:
    if os.geteuid() != 0:
        pytest.skip("the test run is a plain user's already: every other test covers it")
    if plain_python is None:
        pytest.skip("no Python on this machine that a plain user can run with our packages (they lie below /root)")
    home.mkdir(mode=0o700)
    os.chown(home, UID, UID)
    yield lambda folder=home: launch(folder, python=plain_python, uid=UID)


def test_everything_lives_in_the_home(plain: Callable[..., Any], home: Path) -> None:
    process = plain()
    answer = process.answer()
    assert answer["owner"]
    assert answer["socket_dir"] == str(home / "postgres.socket")
    assert (home / "postgres").stat().st_uid == UID
    assert {path.stat().st_uid for path in home.rglob("*")} == {UID}
    assert process.ask("stop") == {"stopped": True}


@pytest.mark.chaos
def test_a_killed_owner_takes_its_server_along(
    plain: Callable[..., Any], home: Path, wait_until: Callable[..., Any], server_processes: Callable[..., Any]
) -> None:
    owner = plain()
    url = owner.answer()["url"]
    owner.kill()
    wait_until(lambda: not server_processes(home / "postgres"))
    again = plain()
    assert again.answer()["url"] == url
    again.ask("stop")


def test_root_runs_it_as_the_user_that_made_it_and_leaves_it_usable(
    plain: Callable[..., Any], home: Path, launch: Callable[..., Any]
) -> None:
    process = plain()
    url = process.answer()["url"]
    process.ask("stop")
    root = launch(home)
    assert root.answer()["url"] == url
    root.ask("stop")
    process = plain()
    assert process.answer()["url"] == url
    process.ask("stop")


def test_a_folder_of_another_user_is_named(plain: Callable[..., Any], home: Path) -> None:
    (home / "inner").mkdir(mode=0o700)
    answer = plain(home / "inner" / "home").answer()
    assert answer["error"] == "HomeUnusable"
    assert f"{home}/inner/home" in answer["message"]
    assert "choose another RUNFLOW_HOME" in answer["message"]


def test_data_of_another_user_is_named(plain: Callable[..., Any], home: Path) -> None:
    (home / "postgres").mkdir(mode=0o700)
    os.chown(home / "postgres", 1, 1)
    answer = plain().answer()
    assert answer["error"] == "HomeUnusable"
    assert "belongs to user daemon, and Runflow was started as nobody" in answer["message"]
    (home / "postgres").rmdir()
