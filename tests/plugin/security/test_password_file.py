"""`runflow_security.json`: written for its owner only, and never taken for "off" when it cannot be read."""

import json
from pathlib import Path

import pytest

from plugin.security.password_file import NAME, Damaged, PasswordFile
from tests.plugin.security.conftest import ANN, PASSWORD


@pytest.fixture
def file(tmp_path: Path) -> PasswordFile:
    return PasswordFile(tmp_path / NAME)


def test_it_keeps_a_hash_and_no_password(file: PasswordFile) -> None:
    assert file.read() is None
    assert file.mark() is None
    file.write(ANN)
    assert file.read() == ANN
    text = file.path.read_text()
    assert PASSWORD not in text
    assert set(json.loads(text)) == {"version", "username", "password"}
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in file.path.parent.iterdir()] == [NAME]
    before = file.mark()
    file.write(ANN)
    assert file.mark() != before
    file.remove()
    file.remove()
    assert file.read() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 60_000,
        b" " * 70_000,
        b'{"version": 1}',
        b'{"version": 2, "username": "ann"}',
        b'{"version": 1, "username": "ann"}',
        b'{"version": 1, "username": "ann", "password": "secret"}',
        b'{"version": 1, "username": "", "password": {}}',
        b'{"version": 1, "username": "ann", "enabled": false, "password": {"algorithm": "scrypt"}}',
    ],
)
def test_a_damaged_file_is_damaged_and_not_absent(file: PasswordFile, content: bytes) -> None:
    file.path.write_bytes(content)
    assert isinstance(file.read(), Damaged)


def test_a_place_that_cannot_be_read_is_damaged(file: PasswordFile) -> None:
    file.path.mkdir()
    assert isinstance(file.read(), Damaged)
    loop = PasswordFile(file.path / "loop")
    loop.path.symlink_to("loop")
    assert isinstance(loop.mark(), str)
    assert isinstance(loop.read(), Damaged)
