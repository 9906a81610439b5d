import pytest

from plugin.answers import Refused
from plugin.deploy.target import DEFAULT_URL, base_url, choose_target, origin_of

KEY = "rf_live_settings"
HOME = "http://127.0.0.1:8700"


def test_the_settings_alone() -> None:
    target = choose_target(f" {HOME}/ ", f" {KEY}\n")
    assert (target.base, target.origin, target.key, target.foreign) == (HOME, HOME, KEY, False)
    assert choose_target("", KEY).base == DEFAULT_URL
    assert KEY not in repr(target)


def test_the_nodes_own_host_and_key() -> None:
    target = choose_target(HOME, KEY, "https://other.example/", "rf_live_node")
    assert (target.base, target.key, target.foreign) == ("https://other.example", "rf_live_node", False)
    assert choose_target(HOME, None, "", "rf_live_node").key == "rf_live_node"


@pytest.mark.parametrize(
    ("host", "foreign"),
    [
        ("HTTP://127.0.0.1:8700/", False),
        ("http://127.0.0.1:8700/v1", False),
        ("http://127.0.0.1:8700/prefix", False),
        ("https://127.0.0.1:8700", True),
        ("http://127.0.0.1:8701", True),
        ("http://127.0.0.1", True),
        ("http://localhost:8700", True),
        ("http://127.0.0.1:8700.evil.example", True),
    ],
)
def test_the_key_of_settings_is_foreign_to_every_other_origin(host: str, foreign: bool) -> None:
    if host.endswith(".example"):
        with pytest.raises(Refused):
            choose_target(HOME, KEY, host)
        return
    target = choose_target(HOME, KEY, host)
    assert (target.key, target.foreign) == (KEY, foreign)


def test_a_broken_setting_belongs_to_no_host() -> None:
    assert choose_target("nonsense", KEY, HOME).foreign is True


@pytest.mark.parametrize(
    "url",
    [
        "api.runflow.io",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://h:0",
        "https://me:pw@h",
        "https://h?x=1",
        "https://h#x",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(Refused, match="Unconfigured key or URL"):
        base_url(url, "host")


@pytest.mark.parametrize("key", [None, "", "  ", "rf_live_\nx", "rf live", "schlüssel", "•••• 1234"])
def test_keys_that_are_none(key: str | None) -> None:
    with pytest.raises(Refused, match="Unconfigured key or URL"):
        choose_target(HOME, key)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://H.example:443/x", "https://h.example"),
        ("http://h:80", "http://h"),
        ("http://h:443", "http://h:443"),
        ("http://[::1]:8700/", "http://[::1]:8700"),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert origin_of(url) == origin
