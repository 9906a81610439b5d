"""The demo's own API key."""

from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL

from runflow.cli.demo import _key
from runflow.settings import Settings
from tests.support.scripted import Reply, scripted

REVOKED = Reply(401, {"code": "UNAUTHORIZED", "message": "This key was revoked."})


def test_a_key_that_was_revoked_is_made_anew(tmp_path: Path, db_url: URL) -> None:
    database = db_url.set(drivername="postgresql").render_as_string(hide_password=False)
    settings = Settings(home=tmp_path, database_url=SecretStr(database), secret_key=SecretStr("0123456789abcdef" * 4))
    file = tmp_path / "demo.key"
    with scripted(REVOKED, Reply(200, {})) as server:
        first = _key(settings, file, server.url)
        file.write_text("rf_live_revoked\n")
        second = _key(settings, file, server.url)
        assert file.read_text().strip() == second and second not in (first, "rf_live_revoked")
        assert _key(settings, file, server.url) == second
    assert server.header("Authorization") == ["Bearer rf_live_revoked", f"Bearer {second}"]
