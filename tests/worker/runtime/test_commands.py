"""Commands: what they said is kept, passwords are not."""

import os
import sys
from pathlib import Path

import pytest

from runflow.worker.runtime.commands import CommandFailed, InstallError, run, without_credentials


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_is_returned_and_every_line_is_told() -> None:
    lines: list[str] = []
    code = "import sys; print('one'); sys.stdout.flush(); sys.stderr.write('10%\\r20%\\r')"
    assert run(python(code), what="x", on_line=lines.append) == "one"
    assert sorted(lines) == ["10%", "20%", "one"]


def test_a_failure_ends_with_the_last_words_and_no_password() -> None:
    code = "import sys; sys.stderr.write('no access to https://ann:s3cret@host/simple'); sys.exit(3)"
    with pytest.raises(CommandFailed, match=r"Fetching failed with exit code 3:\nno access to https://host/simple"):
        run(python(code), what="Fetching")


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(CommandFailed, match="ran out of time") as failed:
        run(python("import time; time.sleep(60)"), what="Waiting", timeout=0.3)
    assert failed.value.code is None


def test_a_command_that_is_not_there_is_named() -> None:
    with pytest.raises(InstallError, match="`no-such-command` is not installed"):
        run(["no-such-command"], what="It")


def test_credentials_are_taken_out_of_every_url() -> None:
    assert without_credentials("git+https://t0ken@host/x and http://a:b@c/") == "git+https://host/x and http://c/"


def test_a_command_that_is_alone_sees_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNFLOW_TEST_SECRET", "x")
    code = "import os; print(sorted(name for name in os.environ if 'RUNFLOW' in name))"
    assert run(python(code), what="x", alone=True, env={"RUNFLOW_ASKED": "1"}) == "['RUNFLOW_ASKED']"
    assert "RUNFLOW_TEST_SECRET" in run(python(code), what="x")


def test_what_a_command_that_is_alone_started_ends_with_it(tmp_path: Path) -> None:
    """Its child holds a pipe open, which is read to its end: it ends when the child does."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(CommandFailed, match="ran out of time"):
        run(
            ["sh", "-c", f"sleep 600 > {pipe} & wait"],
            what="x",
            alone=True,
            env={"PATH": os.environ["PATH"]},
            timeout=1,
        )
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""
    os.close(reading)
