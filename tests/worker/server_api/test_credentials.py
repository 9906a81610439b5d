import os
import subprocess
import sys
from pathlib import Path

import pytest

from runflow.worker.server_api.credentials import TOKEN_VARIABLE, TokenMissing, read_token
from tests.support.fake_server import TOKEN


def test_the_token_comes_from_a_file_or_the_environment_and_leaves_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    monkeypatch.setenv(TOKEN_VARIABLE, "rf_work_other")
    assert read_token(file) == TOKEN
    assert TOKEN_VARIABLE not in os.environ
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert read_token(None) == TOKEN
    assert TOKEN_VARIABLE not in os.environ


def test_what_is_no_token_is_refused_without_repeating_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(TokenMissing, match="create-worker"):
        read_token(None)
    with pytest.raises(TokenMissing, match="cannot be read"):
        read_token(tmp_path / "missing")
    file = tmp_path / "token"
    for content in ("rf_live_secret", "", "rf_work_a b", "rf_work_\nx"):
        file.write_text(content)
        with pytest.raises(TokenMissing) as refusal:
            read_token(file)
        assert "secret" not in str(refusal.value)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_hiding_memory_closes_it_to_other_processes() -> None:
    dumpable = "ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)"
    hidden = "import ctypes; from runflow.worker.server_api import credentials; credentials.hide_memory()"
    code = f"{hidden}; print({dumpable})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "0"
