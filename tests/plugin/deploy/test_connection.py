from pathlib import Path

import pytest

from plugin.deploy.connection import KeyStore

KEY = "rf_live_" + "a" * 36 + "1234"


def test_each_user_has_a_key_of_their_own(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    assert (store.get("default"), store.hint("default")) == (None, None)
    store.put("default", KEY)
    store.put("other", "short")
    assert KeyStore(tmp_path / "keys.json").get("default") == KEY
    assert (store.hint("default"), store.hint("other")) == ("1234", "")
    store.forget("default")
    store.forget("nobody")
    assert (store.get("default"), store.get("other")) == (None, "short")
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "[]", '{"default": 3}'])
def test_a_damaged_file_holds_no_key(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys.json").write_text(content)
    store = KeyStore(tmp_path / "keys.json")
    assert store.get("default") is None
    store.put("default", KEY)
    assert store.get("default") == KEY
