"""The operator's credentials for downloads: read from a private file, and never shown."""

import base64
import os
import traceback
from pathlib import Path

import pytest

from runflow.worker.store.fetch.credentials import Credentials, CredentialsUnusable

SECRET = "hf_s3cr3t"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(mode=0o600)
    return path


def refusal(file: Path) -> str:
    with pytest.raises(CredentialsUnusable) as refused:
        Credentials.read(file)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    return str(refused.value)


def test_every_form(file: Path) -> None:
    file.write_text(
        f"""\ufeff# who may fetch what
        huggingface.co bearer {SECRET}

        Models.Example:8443\tbasic  me   a pass:word
        https://files.example/ header X-Api-Key {SECRET} and more#
        http://10.0.0.7:9000 bearer {SECRET}\r
        """
    )
    credentials = Credentials.read(file)
    basic = base64.b64encode(b"me:a pass:word").decode()
    assert credentials.headers_for(("https", "huggingface.co", 443)) == {"Authorization": f"Bearer {SECRET}"}
    assert credentials.headers_for(("https", "models.example", 8443)) == {"Authorization": f"Basic {basic}"}
    assert credentials.headers_for(("https", "files.example", 443)) == {"X-Api-Key": f"{SECRET} and more#"}
    assert credentials.headers_for(("http", "10.0.0.7", 9000)) == {"Authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    "origin",
    [
        ("http", "huggingface.co", 80), ("http", "huggingface.co", 443), ("https", "huggingface.co", 8443),
        ("https", "cdn.huggingface.co", 443), ("https", "evil.example", 443),
    ],
)  # fmt: skip
def test_no_other_origin_gets_them(file: Path, origin: tuple[str, str, int]) -> None:
    file.write_text(f"huggingface.co bearer {SECRET}")
    assert Credentials.read(file).headers_for(origin) == {}
    assert Credentials().headers_for(origin) == {}


def test_nothing_that_prints_them_shows_them(file: Path) -> None:
    file.write_text(f"huggingface.co bearer {SECRET}")
    credentials = Credentials.read(file)
    assert repr(credentials) == str(credentials) == f"{credentials}" == "<Credentials, origins: 1>"


@pytest.mark.parametrize(
    "line",
    [
        f"huggingface.co {SECRET}", SECRET, f"huggingface.co bearer {SECRET} more", "huggingface.co bearer",
        f"huggingface.co basic {SECRET}", f"huggingface.co basic me:you {SECRET}", f"huggingface.co token {SECRET}",
        f"huggingface.co Bearer {SECRET}", f"huggingface.co header X-Key: {SECRET}",
        f"huggingface.co header Host {SECRET}", f"huggingface.co header range {SECRET}", "huggingface.co header X-Key",
        f"huggingface.co bearer {SECRET}é", f"huggingface.co header X-Key {SECRET}\x07",
        f"https://huggingface.co/models bearer {SECRET}", f"https://me:{SECRET}@huggingface.co bearer x",
        f"https://huggingface.co/?{SECRET} bearer x", f"https://huggingface.co/#{SECRET} bearer x",
        f"ftp://huggingface.co bearer {SECRET}", f"https:// bearer {SECRET}", f"hugging,face bearer {SECRET}",
    ],
)  # fmt: skip
def test_a_bad_line_is_named_by_its_number(file: Path, line: str) -> None:
    file.write_text(f"# one\n\n{line}\n", encoding="utf-8")
    message = refusal(file)
    assert message.startswith(f"Line 3 of the file of download credentials {file}")
    assert "HOST bearer TOKEN" in message


def test_a_host_is_named_once(file: Path) -> None:
    file.write_text(f"huggingface.co bearer {SECRET}\nhttps://HuggingFace.co:443 bearer {SECRET}2")
    assert "Line 2" in refusal(file)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_read_is_refused(file: Path, mode: int) -> None:
    file.write_text(f"huggingface.co bearer {SECRET}")
    file.chmod(mode)
    assert f"chmod 600 {file}" in refusal(file)


def test_what_is_no_readable_text_is_refused(file: Path, tmp_path: Path) -> None:
    file.write_bytes(SECRET.encode() + b"\xff")
    assert "UTF-8" in refusal(file)
    assert "No such file" in refusal(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    assert "no file" in refusal(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "no file" in refusal(tmp_path / "pipe")


def test_a_link_to_a_private_file_is_read(file: Path, tmp_path: Path) -> None:
    """As in a mounted secret."""
    file.write_text(f"huggingface.co bearer {SECRET}")
    (tmp_path / "link").symlink_to(file)
    assert Credentials.read(tmp_path / "link").headers_for(("https", "huggingface.co", 443))
