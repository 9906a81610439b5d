"""The master key: one file, one key, independent derivations."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runflow.master_key import CannotDecrypt, MasterKey, MasterKeyError, OtherMasterKey, load_or_create


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


KEY, OTHER = MasterKey("k" * 40), MasterKey("o" * 40)


def test_what_is_sealed_opens_for_its_purpose_and_its_row_only() -> None:
    sealed = KEY.encrypt("secrets", b"whsec_text", "row-1")
    assert b"whsec" not in sealed
    assert KEY.decrypt("secrets", sealed, "row-1") == b"whsec_text"
    for purpose, row in (("secrets", "row-2"), ("other", "row-1"), ("secrets", "")):
        with pytest.raises(CannotDecrypt, match="belongs to another row"):
            KEY.decrypt(purpose, sealed, row)


def test_no_two_envelopes_are_alike() -> None:
    assert len({KEY.encrypt("secrets", b"same", "row") for _ in range(100)}) == 100


def test_another_key_is_told_from_a_damaged_envelope() -> None:
    sealed = KEY.encrypt("secrets", b"x", "row")
    assert (KEY.sealed(sealed), OTHER.sealed(sealed)) == (True, False)
    with pytest.raises(OtherMasterKey, match="another master key"):
        OTHER.decrypt("secrets", sealed, "row")


@pytest.mark.parametrize("at", [0, 1, 8, 9, 20, 21, -1])
def test_one_changed_bit_is_noticed(at: int) -> None:
    damaged = bytearray(KEY.encrypt("secrets", b"whsec_text", "row"))
    damaged[at] ^= 1
    with pytest.raises(CannotDecrypt):
        KEY.decrypt("secrets", bytes(damaged), "row")


@pytest.mark.parametrize("length", [0, 1, 9, 15, 21, 30])
def test_a_cut_envelope_is_noticed(length: int) -> None:
    with pytest.raises(CannotDecrypt):
        KEY.decrypt("secrets", KEY.encrypt("secrets", b"whsec_text", "row")[:length], "row")


@pytest.mark.parametrize("content", [b"", b"\n", b"0123456789abcdef\n", b"\xff" * 64])
def test_a_key_file_that_lost_its_key_is_named_and_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret.key"
    path.write_bytes(content)
    with pytest.raises(MasterKeyError, match=r"secret\.key is empty, cut off or no text .*backup"):
        load_or_create(tmp_path, None)
    assert path.read_bytes() == content
