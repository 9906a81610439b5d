"""`runflow login` and `runflow logout`: where keys come from, and where they stay."""

import json
import stat
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL

from runflow.client.credentials import login_file
from tests.cli.conftest import Command, environment, told
from tests.support.platform_fixtures import free_port


@pytest.fixture
def key(client: httpx.AsyncClient) -> str:
    return client.headers["Authorization"].removeprefix("Bearer ")


async def test_a_key_from_a_pipe_is_kept_for_its_server(
    own_address: str, key: str, tmp_path: Path, owner_slug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = environment(tmp_path)
    said = await told(user, "login", own_address, stdin=key + "\n")
    assert said.code == 0, said.err
    assert f"organization {owner_slug}" in said.words and key not in said.err + said.out
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert stat.S_IMODE(login_file().stat().st_mode) == 0o600
    assert (await told(user, "runs", "list", "--json")).out == "[]\n"
    elsewhere = await told(user, "runs", "list", "--server", f"http://127.0.0.1:{free_port()}")
    assert elsewhere.code == 4 and "no API key for" in elsewhere.words, "a key goes to its own server only"
    assert json.loads((await told(user, "logout", "--json")).out) == {"url": own_address}
    assert (await told(user, "logout")).code == 1
    assert (await told(user, "runs", "list", "--server", own_address)).code == 4


async def test_a_key_that_does_not_work_is_not_kept(own_address: str, tmp_path: Path) -> None:
    user = environment(tmp_path)
    wrong = await told(user, "login", own_address, stdin="rf_live_wrong\n")
    assert wrong.code == 4 and "runflow login" in wrong.words
    assert (await told(user, "login", own_address, stdin="\n")).code == 1
    assert (await told(user, "login", "box")).code == 2
    assert (await told(user, "login", f"http://127.0.0.1:{free_port()}", stdin="x\n")).code == 3
    nothing = await told(user, "login")
    assert nothing.code == 2 and "runflow up" in nothing.words
    assert [*tmp_path.rglob("login.json")] == []


async def test_on_the_server_s_machine_a_key_is_made(
    own_address: str, db_url: URL, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    url = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    user = environment(tmp_path, RUNFLOW_DATABASE_URL=url, RUNFLOW_SECRET_KEY="0123456789abcdef" * 4)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "server.url").write_text(own_address + "\n")
    said = await told(user, "login", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["url"] == own_address and "rf_live_" not in said.out + said.err
    listed = json.loads((await told(user, "runs", "list", "--json", "-n", "1")).out)
    assert isinstance(listed, list)
    # Another server that is named is asked for its key, here as everywhere.
    away = await told(user, "login", f"http://127.0.0.1:{free_port()}", stdin="\n")
    assert away.code == 1 and "No key was given" in away.words


async def test_what_ends_a_command_has_its_exit_code(cli: Command) -> None:
    assert (await cli("runs", "list", RUNFLOW_API_KEY="")).code == 4
    assert (await cli("runs", "list", "--key", "rf_live_wrong")).code == 4
    assert (await cli("runs", "list", RUNFLOW_URL=f"http://127.0.0.1:{free_port()}")).code == 3
    assert (await cli("runs", "list", RUNFLOW_URL="box")).code == 4
