from pathlib import Path

import pytest

from plugin.deploy.connection import KeyStore
from plugin.deploy.target import StoredKey

HOME = "http://127.0.0.1:8700"
STORED = StoredKey("rf_live_" + "a" * 36 + "1234", HOME)


def test_each_user_has_a_key_of_their_own(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    other = StoredKey("short", "https://api.runflow.io")
    assert store.get("default") is None
    store.put("default", STORED)
    store.put("other", other)
    assert KeyStore(tmp_path / "keys.json").get("default") == STORED
    store.forget("default")
    store.forget("nobody")
    assert (store.get("default"), store.get("other")) == (None, other)
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


def test_a_key_of_an_older_plugin_is_bound_once(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"default": "rf_live_old"}')
    store = KeyStore(tmp_path / "keys.json")
    assert store.get("default") == StoredKey("rf_live_old", "")
    store.bind("default", HOME)
    store.bind("default", "https://evil.example")
    store.bind("nobody", HOME)
    assert (store.get("default"), store.get("nobody")) == (StoredKey("rf_live_old", HOME), None)


@pytest.mark.parametrize("content", ["", "[]", '{"default": 3}', '{"default": {"key": "x"}}'])
def test_a_damaged_file_holds_no_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    store = KeyStore(tmp_path / "keys.json")
    assert store.get("default") is None
    store.put("default", STORED)
    assert store.get("default") == STORED
