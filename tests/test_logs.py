"""What the log says of a failure, and what it keeps to itself."""

import contextlib
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from runflow import logs

FULL = Path("/dev/full")
"""Linux has a file whose disk is always full."""


CONFIGURE = structlog.configure
"""What no other test can use."""


@pytest.fixture
def unconfigured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(structlog, "configure", CONFIGURE)
    before, handlers, hook, stderr = structlog.get_config(), list(logging.root.handlers), sys.excepthook, sys.stderr
    yield
    structlog.configure(**before)
    logging.root.handlers, sys.excepthook, sys.stderr = handlers, hook, stderr
    logging.captureWarnings(False)
    logs._is_json = False


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_values(log_format: str) -> None:
    out = io.StringIO()
    logs.configure(log_format, stream=out)
    token = "rf_live_" + "planted" * 5
    try:
        assert token
        raise RuntimeError("it broke")
    except RuntimeError:
        structlog.get_logger().exception("request failed")
    assert "it broke" in out.getvalue() and "test_logs.py" in out.getvalue()
    assert token not in out.getvalue()


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_stderr_that_cannot_be_written_stops_nobody(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stderr", out)
        logs.configure(log_format)
        structlog.get_logger().warning("sweep failed, trying again")
        logging.getLogger("uvicorn.error").error("a line of a library")
        sys.stderr.write("and one that was printed")
        sys.stderr.flush()
        os.close(out.fileno())
        structlog.get_logger().warning("not even there any more")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # so that closing it here is no error


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_pipe_whose_reader_stands_still_holds_up_nobody(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with os.fdopen(reader, "rb") as into, os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stderr", out)
        logs.configure(log_format)
        log = structlog.get_logger()
        for number in range(300):
            log.warning("swept", number=number, what="x" * 1000)
        first = into.read()
        assert first.count(b"\n") < 300
        log.warning("read again")
        said = (first + into.read()).decode().splitlines()
        missing = 300 - sum("swept" in line and line.endswith(("xxx", "}")) for line in said)
        assert f"{missing} lines of the log were lost" in said[-2]
        assert "read again" in said[-1]
        assert os.get_blocking(writer)


@pytest.mark.usefixtures("unconfigured")
def test_lines_of_libraries_are_json_where_ours_are() -> None:
    out = io.StringIO()
    logs.configure("json", stream=out)
    try:
        raise RuntimeError("it broke")
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("Exception in %s", "ASGI application")
    logging.getLogger("asyncio").info("too small to be told")
    (line,) = [json.loads(line) for line in out.getvalue().splitlines()]
    assert line["event"] == "Exception in ASGI application" and line["logger"] == "uvicorn.error"
    assert line["level"] == "error" and "it broke" in line["exception"]


@pytest.mark.usefixtures("unconfigured")
def test_faults_that_nobody_catches_are_json_where_ours_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    out = io.StringIO()
    logs.configure("json", stream=out)
    monkeypatch.setattr(sys, "stderr", out)

    class Faulty:
        def __del__(self) -> None:
            raise RuntimeError("at its end")

    def work() -> None:
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=work, name="engine-log")
    thread.start()
    thread.join()
    Faulty()
    of_thread, of_object = [json.loads(line) for line in out.getvalue().splitlines()]
    assert of_thread["thread"] == "engine-log" and "in a thread" in of_thread["exception"]
    assert of_object["level"] == "error" and "at its end" in of_object["exception"]
    logs.configure("console", stream=out)
    assert threading.excepthook is threading.__excepthook__ and sys.unraisablehook is sys.__unraisablehook__


@pytest.mark.usefixtures("unconfigured")
@pytest.mark.skipif(not FULL.exists(), reason="this system has no file that is always full")
def test_a_full_disk_stops_nobody() -> None:
    out = FULL.open("w")
    logs.configure("json", stream=out)
    for _ in range(3):
        structlog.get_logger().warning("x" * 10_000)
    with pytest.raises(OSError, match="No space left"):
        out.write("x" * 10_000)
    with contextlib.suppress(OSError):
        out.close()
