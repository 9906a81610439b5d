"""What the machine itself knows of who can reach ComfyUI."""

import socket

import pytest

from plugin.security.exposure import Level, binding, reachable_addresses


@pytest.mark.parametrize(
    ("address", "level"),
    [
        ("0.0.0.0", Level.DANGER),
        ("::", Level.DANGER),
        ("[::]", Level.DANGER),
        ("127.0.0.1", Level.GOOD),
        ("127.0.0.53", Level.GOOD),
        ("::1", Level.GOOD),
        ("localhost", Level.GOOD),
        ("192.168.1.5", Level.WARNING),
        ("10.0.0.1", Level.WARNING),
        ("fe80::1%eth0", Level.WARNING),
        ("100.64.0.9", Level.WARNING),
        ("8.8.8.8", Level.DANGER),
        ("2606:4700::1111", Level.DANGER),
        ("no.such.host.invalid", Level.UNKNOWN),
    ],
)
def test_bindings(address: str, level: Level) -> None:
    found = binding(address)
    assert (found.address, found.level) == (address, level)
    assert found.meaning


def test_all_interfaces_are_named_where_all_are_listened_at() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only chooses the interface
        except OSError:
            pytest.skip("this machine has no network interface")
        own = probe.getsockname()[0]
    assert own in reachable_addresses(["0.0.0.0"])
    assert own not in reachable_addresses(["::1"])
    assert not any(address.startswith("127.") for address in reachable_addresses(["0.0.0.0", "::"]))
    assert reachable_addresses(["127.0.0.1", "192.168.7.7", "8.8.8.8"]) == ["8.8.8.8", "192.168.7.7"]
    assert reachable_addresses(["127.0.0.1"]) == []
