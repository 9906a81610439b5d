"""pip's and uv's settings, read from their own places and handed to the other tool."""

from pathlib import Path

import pytest

from runflow.worker.runtime.index_settings import Indexes, read_indexes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder with both tools' files, and folders that exist."""
    for folder in ("pip-links", "uv-links", "index"):
        (tmp_path / folder).mkdir()
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/uv").mkdir(parents=True)
    return tmp_path


def read(home: Path, **environ: str) -> Indexes:
    return read_indexes({"XDG_CONFIG_DIRS": str(home / "none"), "PIP_CONFIG_FILE": "/dev/null", **environ}, home)


def test_nothing_set_means_the_tools_defaults(home: Path) -> None:
    indexes = read(home)
    assert indexes.environment_for_uv() == {}
    assert indexes.environment_for_pip() == {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    assert indexes.find_links == ()


def test_pips_variables_reach_uv(home: Path) -> None:
    found = read(
        home,
        PIP_INDEX_URL="https://ann:pw@mirror/simple",
        PIP_EXTRA_INDEX_URL=f"https://two/simple file://{home}/index file://{home}/gone",
        PIP_FIND_LINKS=f"{home}/pip-links {home}/gone https://links/",
        PIP_TRUSTED_HOST="mirror",
        PIP_CERT="/ca.pem",
    ).environment_for_uv()
    assert found == {
        "UV_DEFAULT_INDEX": "https://ann:pw@mirror/simple",
        "UV_EXTRA_INDEX_URL": f"https://two/simple file://{home}/index",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{home}/pip-links,https://links/",
        "UV_INSECURE_HOST": "mirror",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_pips_files_count_with_the_variables_over_them(home: Path) -> None:
    config = home / ".config/pip/pip.conf"
    config.write_text(
        f"[global]\nindex_url = https://file/simple\nfind-links =\n    {home}/pip-links\n    {home}/index\n"
    )
    indexes = read_indexes({"PIP_INDEX_URL": "https://env/simple", "XDG_CONFIG_DIRS": str(home)}, home)
    assert indexes.pip.index_url == "https://env/simple"
    assert indexes.pip.find_links == (f"{home}/pip-links", f"{home}/index")


def test_uvs_settings_reach_pip(home: Path) -> None:
    config = home / ".config/uv/uv.toml"
    config.write_text(
        f'find-links = ["{home}/uv-links"]\n[[index]]\nurl = "https://main/simple"\ndefault = true\n'
        '[[index]]\nurl = "https://more/simple"\n[[index]]\nurl = "https://no/simple"\nexplicit = true\n'
    )
    found = read(home, UV_FIND_LINKS=f"{home}/pip-links").environment_for_pip()
    assert found["PIP_INDEX_URL"] == "https://main/simple"
    assert found["PIP_EXTRA_INDEX_URL"] == "https://more/simple"
    assert found["PIP_FIND_LINKS"] == f"{home}/pip-links {home}/uv-links"


def test_uvs_own_choice_wins_for_uv(home: Path) -> None:
    found = read(home, UV_DEFAULT_INDEX="https://uv/simple", PIP_INDEX_URL="https://pip/simple").environment_for_uv()
    assert "UV_DEFAULT_INDEX" not in found


def test_no_index_is_honoured_by_both(home: Path) -> None:
    indexes = read(home, PIP_NO_INDEX="1")
    assert indexes.arguments_for_uv == ("--no-index",)
    assert indexes.environment_for_pip()["PIP_NO_INDEX"] == "1"


def test_broken_files_are_left_to_their_tools(home: Path) -> None:
    (home / ".config/pip/pip.conf").write_text("no section\n")
    (home / ".config/uv/uv.toml").write_text("= nonsense")
    assert read_indexes({"XDG_CONFIG_DIRS": str(home)}, home).uv.index_url is None
