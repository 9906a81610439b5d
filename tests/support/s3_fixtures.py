"""A bucket for tests: in moto's server as a process of its own, or the real one that `RUNFLOW_TEST_S3_URL` names.

The real one: `RUNFLOW_TEST_S3_URL=s3://bucket/prefix` with `RUNFLOW_TEST_S3_ENDPOINT`, `RUNFLOW_TEST_S3_REGION`,
`RUNFLOW_TEST_S3_ACCESS_KEY`, `RUNFLOW_TEST_S3_SECRET_KEY`. Whatever the tests store lies below a prefix of their own.
"""

import os
import secrets
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.certificate import Trusted
from tests.support.platform_fixtures import free_port

SERVER = Path(__file__).parents[1] / "storage" / "s3_server.py"
ACCESS_KEY = "test-access-key"
SECRET_KEY = "test-secret-key"
BUCKET = "runflow-test"
REAL = os.environ.get("RUNFLOW_TEST_S3_URL", "")
SETTINGS = ("url", "endpoint", "region", "access_key", "secret_key")


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of an S3-compatible service with the bucket `runflow-test`."""
    with s3_service() as address:
        yield address


@pytest.fixture(scope="session")
def unconditional_s3_endpoint() -> Iterator[str]:
    """The same of a service that knows no conditional writes."""
    with s3_service(S3_SERVER_UNCONDITIONAL="1") as address:
        yield address


@contextmanager
def s3_service(certificate: Trusted | None = None, **environment: str) -> Iterator[str]:
    """Run an S3-compatible service with the bucket `runflow-test`, by https if there is a certificate for localhost."""
    port = free_port()
    files = [str(certificate.chain), str(certificate.key)] if certificate else []
    command = [sys.executable, str(SERVER), str(port), ACCESS_KEY, SECRET_KEY, *files]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env={**os.environ, **environment})
    address = f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
    trusted = certificate.context if certificate else ssl.create_default_context()
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not answer"
            try:
                httpx.get(f"{address}/moto-api/", timeout=5, verify=trusted)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        make_bucket(address, BUCKET, trusted)
        yield address
    finally:
        process.kill()
        process.wait()


def make_bucket(endpoint: str, name: str, trusted: ssl.SSLContext | bool = True) -> None:
    """Make a bucket of this name."""
    authorization = f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/us-east-1/s3/aws4_request, Signature=0"
    httpx.put(f"{endpoint}/{name}", headers={"Authorization": authorization}, verify=trusted).raise_for_status()


def moto_settings(endpoint: str, **more: Any) -> dict[str, Any]:
    """Settings of an installation that keeps its files in that bucket, below a prefix of its own."""
    return {
        "storage_url": f"s3://{BUCKET}/{secrets.token_hex(4)}/files",
        "storage_endpoint": endpoint,
        "storage_access_key": ACCESS_KEY,
        "storage_secret_key": SECRET_KEY,
        **more,
    }


def real_settings() -> dict[str, Any]:
    """Settings for the real bucket, below a prefix of its own."""
    values = {name: os.environ.get(f"RUNFLOW_TEST_S3_{name.upper()}") for name in SETTINGS}
    values["url"] = f"{REAL.rstrip('/')}/{secrets.token_hex(4)}"
    return {f"storage_{name}": value for name, value in values.items() if value}
