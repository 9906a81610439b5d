"""The master key: one file, one key, independent derivations."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runflow.master_key import MasterKey, MasterKeyError, load_or_create


def test_it_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    first, second = load_or_create(tmp_path, None), load_or_create(tmp_path, None)
    assert first.derive("urls") == second.derive("urls")
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_processes_that_start_together_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_create(tmp_path, None).derive("x"), range(16)))
    assert len(set(keys)) == 1


def test_purposes_are_independent_and_the_value_is_not_shown() -> None:
    key = MasterKey("s" * 32)
    assert key.derive("a") != key.derive("b") and len(key.derive("a")) == 32
    assert "sss" not in repr(key)


def test_a_configured_key_wins_and_a_short_one_is_refused(tmp_path: Path) -> None:
    assert load_or_create(tmp_path, "k" * 40).derive("x") == MasterKey("k" * 40).derive("x")
    with pytest.raises(MasterKeyError, match="at least 32"):
        load_or_create(tmp_path, "short")
    assert list(tmp_path.iterdir()) == []
