"""Targets that can never be reached, told by what stands in their URL."""

from pathlib import Path

import pytest

from runflow.outgoing.reach import refusal
from runflow.settings import Settings


def settings(folder: Path, networks: str = "", public_url: str | None = None) -> Settings:
    return Settings(home=folder, allowed_networks=networks, public_url=public_url)


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("http://127.0.0.1:9000/hook", "127.0.0.0/8"),
        ("http://localhost:9000/hook", "127.0.0.0/8"),
        ("http://hooks.localhost./", "127.0.0.0/8"),
        ("http://127.1/", "127.0.0.0/8"),
        ("http://2130706433/", "127.0.0.0/8"),
        ("http://0x7f000001/", "127.0.0.0/8"),
        ("http://[::1]:9000/", "::1/128"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1/128"),
        ("https://10.1.2.3/", "10.1.2.3/32"),
        ("https://192.168.0.10:8443/x", "192.168.0.10/32"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254/32"),
        ("http://0.0.0.0/", "0.0.0.0/32"),
        ("http://[fd00::1]/", "fd00::1/128"),
    ],
)
def test_a_literal_private_address_is_refused_with_the_setting_that_allows_it(
    tmp_path: Path, url: str, network: str
) -> None:
    said = refusal(url, settings(tmp_path))
    assert said is not None and "RUNFLOW_ALLOWED_NETWORKS=" in said
    if "ffff" not in network:
        assert f"RUNFLOW_ALLOWED_NETWORKS={network} " in said
        assert refusal(url, settings(tmp_path, network)) is None


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hook", "http://1.1.1.1/", "https://[2606:4700::1111]/", "http://internal/", "not a url", ""],
)
def test_public_addresses_and_names_are_left_to_the_moment_of_sending(tmp_path: Path, url: str) -> None:
    assert refusal(url, settings(tmp_path)) is None


def test_the_server_s_own_address_is_always_allowed(tmp_path: Path) -> None:
    own = settings(tmp_path, public_url="http://192.168.0.10:8700")
    assert refusal("http://192.168.0.10:8700/x", own) is None
    assert refusal("http://192.168.0.10:8701/x", own) is not None
