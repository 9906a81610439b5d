"""Where server and key come from, and that no key goes to another server."""

import os
import stat
from pathlib import Path

import pytest

from runflow.client import NotConfigured
from runflow.client.credentials import DEFAULT_URL, Credentials, find, forget, load, login_file, normalized, save

HERE, THERE = Credentials("http://box:8700", "rf_live_here"), Credentials("https://there.example", "rf_live_there")


def test_what_is_given_wins_over_the_environment_and_that_over_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find(key="k") == Credentials(DEFAULT_URL, "k")
    save(THERE)
    save(HERE)
    assert find() == HERE, "the last login is the default"
    monkeypatch.setenv("RUNFLOW_URL", "https://there.example/v1/")
    assert find() == THERE
    monkeypatch.setenv("RUNFLOW_API_KEY", "rf_live_env")
    assert find().key == "rf_live_env"
    assert find("http://box:8700/", "given") == Credentials("http://box:8700", "given")


def test_a_saved_key_goes_to_its_own_server_only(monkeypatch: pytest.MonkeyPatch) -> None:
    save(HERE)
    for other in ("http://box:8701", "https://box:8700", "http://box.evil:8700"):
        with pytest.raises(NotConfigured, match="no API key for"):
            find(other)
    with pytest.raises(NotConfigured) as said:
        find("http://me:hidden@elsewhere")
    assert "hidden" not in str(said.value)


def test_the_login_is_for_its_owner_alone() -> None:
    file = save(HERE)
    assert file == login_file() and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    file.chmod(0o644)
    with pytest.raises(NotConfigured, match="chmod 600"):
        find()
    file.chmod(0o600)
    file.write_text("{")
    with pytest.raises(NotConfigured, match="runflow login"):
        load()


def test_what_is_given_whole_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container there may be no home folder, and a broken file of somebody else's is no matter of this program."""
    save(HERE).chmod(0o644)
    assert find("http://box:8700", "rf_live_given").key == "rf_live_given"
    monkeypatch.setenv("RUNFLOW_URL", "http://box:8700")
    monkeypatch.setenv("RUNFLOW_API_KEY", "rf_live_env")
    assert find().key == "rf_live_env"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert find().key == "rf_live_env"
    monkeypatch.delenv("RUNFLOW_API_KEY")
    with pytest.raises(NotConfigured, match=r"no home folder.*RUNFLOW_API_KEY"):
        find()


def test_a_login_ends() -> None:
    assert forget() is None
    save(THERE)
    save(HERE)
    assert forget() == HERE.url
    assert find() == THERE, "the other one is the default now"
    assert forget("https://there.example/") == THERE.url
    with pytest.raises(NotConfigured):
        find()


@pytest.mark.parametrize("url", ["box:8700", "ftp://box", "http://", "box", "me:hidden@box"])
def test_what_is_no_address_is_named(url: str) -> None:
    with pytest.raises(NotConfigured, match="http://HOST:PORT") as said:
        normalized(url)
    assert "hidden" not in str(said.value)


def test_a_key_that_was_copied_with_more_is_refused_here() -> None:
    with pytest.raises(NotConfigured, match="characters") as said:
        find(key="rf_live_secret\nX-Other: 1")
    assert "secret" not in str(said.value)


def test_the_folder_for_settings_is_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert login_file() == tmp_path / ".config" / "runflow" / "login.json"
    assert os.path.commonpath([save(HERE), tmp_path]) == str(tmp_path)
