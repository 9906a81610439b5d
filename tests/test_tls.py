"""TLS from the command line on: who trusts which certificate, over real connections."""

import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from runflow.client import Runflow, RunflowUnreachable
from runflow.ids import new_id
from runflow.tls import CertificateUnusable, check_pair, next_step, trusting
from runflow.worker.server_api.connection import Connection, NotWelcome, ServerUnavailable
from tests.support.certificate import Trusted, make_certificate
from tests.support.platform_fixtures import Platform, installation, until


class SecurePlatform(Platform):
    """An installation reached by https, its certificate named in the environment."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Trusted:
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")


@pytest.fixture(scope="module")
def server(certificate: Trusted) -> Iterator[Platform]:
    environment = {"RUNFLOW_TLS_CERT": str(certificate.chain), "RUNFLOW_TLS_KEY": str(certificate.key)}
    more = {"environment": environment, "arguments": ("--no-worker",), "verify": certificate.context}
    with installation(None, SecurePlatform, **more) as platform:
        yield platform


@dataclass
class RemoteWorker:
    """`runflow worker` as on another machine: it knows the address, its token and whom to trust."""

    server: Platform
    ca_file: Path

    def run(self, seconds: float) -> "subprocess.Popen[str]":
        made = subprocess.run(
            [sys.executable, "-m", "runflow", "keys", "create-worker", "--name", "far", "--json"],
            env=self.server._env,
            check=True,
            stdout=subprocess.PIPE,
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNFLOW_")}
        return subprocess.Popen(
            [sys.executable, "-m", "runflow", "worker", "--server", self.server.url, "--name", "far-away"],
            env={
                **kept,
                "RUNFLOW_HOME": str(self.server.home / "far"),
                "RUNFLOW_CA_FILE": str(self.ca_file),
                "RUNFLOW_WORKER_TOKEN": json.loads(made.stdout)["token"],
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.mark.parametrize("which", ["authority", "chain"])
def test_the_sdk_trusts_an_authority_or_the_certificate_itself(
    server: Platform, certificate: Trusted, tmp_path: Path, which: str
) -> None:
    key = server.key()
    with Runflow(server.url, key, ca_file=getattr(certificate, which)) as client:
        file = tmp_path / "a.txt"
        file.write_text("hello")
        assert client.upload(file).startswith("runflow://assets/")
    with Runflow(server.url, key) as stranger, pytest.raises(RunflowUnreachable, match=r"(?i)certificate.* ca_file"):
        stranger.get_run(str(new_id()))


def test_a_worker_elsewhere_joins_with_the_authority(server: Platform, certificate: Trusted) -> None:
    worker = RemoteWorker(server, certificate.authority).run(60)
    headers = {"Authorization": f"Bearer {server.key()}"}

    def joined() -> bool:
        assert worker.poll() is None, worker.stderr and worker.stderr.read()
        found = httpx.get(f"{server.url}/v1/workers", headers=headers, verify=certificate.context).json()["items"]
        return any(one["name"] == "far-away" for one in found)

    try:
        until(joined, "the worker's registration", 60)
    finally:
        worker.terminate()
        worker.communicate(timeout=60)


async def test_a_worker_does_not_talk_to_a_server_that_it_cannot_trust(
    server: Platform, certificate: Trusted, tmp_path: Path
) -> None:
    other = make_certificate(tmp_path, "localhost")
    for ca_file, expected in ((None, ServerUnavailable), (other.authority, ServerUnavailable)):
        async with Connection(server.url, "x", instance=new_id(), ca_file=ca_file) as connection:
            with pytest.raises(expected, match=r"RUNFLOW_CA_FILE"):
                await connection.lease(wait_seconds=0)
    async with Connection(server.url, "x", instance=new_id(), ca_file=certificate.chain) as connection:
        with pytest.raises(NotWelcome):
            await connection.lease(wait_seconds=0)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (9, "clock"),
        (10, "clock"),
        (62, "a name that stands in"),
        (64, "a name that stands in"),
        (19, "RUNFLOW_CA_FILE"),
    ],
)
def test_a_refused_certificate_comes_with_the_next_step(code: int, said: str) -> None:
    refused = ssl.SSLCertVerificationError("refused")
    refused.verify_code = code
    outer = ConnectionError("somewhere")
    outer.__cause__ = refused
    assert said in next_step(outer)
    assert next_step(ConnectionError("elsewhere")) == ""


def test_files_that_cannot_serve_are_named(certificate: Trusted, tmp_path: Path) -> None:
    other = make_certificate(tmp_path, "localhost")
    check_pair(certificate.chain, certificate.key)
    for chain, key in (
        (certificate.chain, other.key),
        (certificate.key, certificate.key),
        (tmp_path / "nothing.pem", certificate.key),
    ):
        with pytest.raises(CertificateUnusable, match=str(chain)):
            check_pair(chain, key)


def test_files_that_cannot_be_trusted_are_named(tmp_path: Path) -> None:
    for name, content in (("nothing.pem", None), ("empty.pem", ""), ("noise.pem", "noise")):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(CertificateUnusable, match=name):
            trusting(httpx.create_ssl_context(), tmp_path / name)


def test_up_says_what_is_missing(tmp_path: Path, certificate: Trusted) -> None:
    command = [sys.executable, "-m", "runflow", "up", "--tls-cert", str(certificate.chain)]
    ended = subprocess.run(
        command, env={**os.environ, "RUNFLOW_HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and "--tls-key" in ended.stderr
    ended = subprocess.run(
        [*command, "--tls-key", str(certificate.chain)],
        env={**os.environ, "RUNFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1 and "private key" in " ".join(ended.stderr.split()) and list(tmp_path.iterdir()) == []
