"""A bucket whose service has a certificate of a private authority, such as a MinIO in one's own network."""

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from runflow import errors
from runflow.master_key import MasterKey
from runflow.settings import Settings
from runflow.storage import s3
from runflow.storage.choice import open_storage
from tests.support.certificate import make_certificate
from tests.support.http_server import QuietHandler, serving
from tests.support.platform_fixtures import free_port
from tests.support.s3_fixtures import moto_settings, s3_service


class Skewed(QuietHandler):
    """An S3 whose clock is another one than ours."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>Too large a difference.</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def causes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What the log gave as the causes of failures.

    The storage gets a log of its own: loggers that were used once ignore what structlog is told later.
    """
    own = CapturingLogger()
    monkeypatch.setattr(s3, "log", own)
    return lambda: [call.kwargs["cause"] for call in own.calls if call.args == ("storage failed",)]


async def test_the_certificates_of_ca_file_hold_for_the_bucket_too(
    tmp_path: Path, causes: Callable[[], list[str]]
) -> None:
    certificate = make_certificate(tmp_path, "localhost")
    # Several in one file: the one that matters is not the first.
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other", "elsewhere").authority
    both = tmp_path / "both.pem"
    both.write_bytes(other.read_bytes() + certificate.authority.read_bytes())
    key = MasterKey("0123456789abcdef" * 4)
    with s3_service(certificate) as endpoint:
        storage = await open_storage(Settings(**moto_settings(endpoint), ca_file=both), key)
        try:
            await storage.put("assets/a/b/c.txt", b"hello", limit=10)
            found = await storage.head("assets/a/b/c.txt")
            assert found is not None
            assert found.size_bytes == 5
        finally:
            await storage.close()
        with pytest.raises(errors.Unavailable, match="RUNFLOW_CA_FILE"):
            await open_storage(Settings(**moto_settings(endpoint)), key)
    assert causes() == ["UnknownIssuer"]


async def test_a_clock_that_is_wrong_is_not_called_wrong_credentials() -> None:
    with serving(Skewed) as address, pytest.raises(errors.Unavailable, match="clock"):
        await open_storage(Settings(**moto_settings(address)), MasterKey("0123456789abcdef" * 4))


async def test_why_the_bucket_does_not_answer_is_logged(causes: Callable[[], list[str]]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(errors.Unavailable, match="cannot be used right now"):
        await open_storage(Settings(**moto_settings(nobody)), MasterKey("0123456789abcdef" * 4))
    assert causes() == ["Connection refused"]
