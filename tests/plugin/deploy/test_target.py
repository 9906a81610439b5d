import pytest

from plugin.answers import Refused
from plugin.deploy.target import HOSTED_URL, StoredKey, base_url, choose_target, origin_of

KEY = "rf_live_settings"
HOME = "http://127.0.0.1:8700"
STORED = StoredKey(KEY, HOME)


def test_the_settings_alone() -> None:
    target = choose_target(f" {HOME}/ ", STORED)
    assert (target.base, target.origin, target.key) == (HOME, HOME, KEY)
    assert choose_target(HOSTED_URL, StoredKey(KEY, HOSTED_URL)).base == HOSTED_URL
    assert KEY not in repr(target) + repr(STORED)


@pytest.mark.parametrize(("stored", "node_key"), [(None, ""), (STORED, ""), (None, KEY)])
def test_no_server_is_ever_a_silent_default(stored: StoredKey | None, node_key: str) -> None:
    with pytest.raises(Refused, match=r"none answers on this machine\. Start one with `runflow up`"):
        choose_target(" ", stored, "", node_key)


def test_an_address_without_its_scheme_is_told_how_it_begins() -> None:
    with pytest.raises(Refused, match=r"begins with http:// or https://: http://127.0.0.1:8700\?"):
        base_url("127.0.0.1:8700", "API URL")


def test_the_nodes_own_host_and_key() -> None:
    target = choose_target(HOME, STORED, "https://other.example/", " rf_live_node\n")
    assert (target.base, target.key) == ("https://other.example", "rf_live_node")
    assert choose_target(HOME, None, "", "rf_live_node").key == "rf_live_node"


@pytest.mark.parametrize(
    ("host", "same"),
    [
        ("HTTP://127.0.0.1:8700/", True),
        ("http://127.0.0.1:8700/v1", True),
        ("http://127.0.0.1:8700/prefix", True),
        ("https://127.0.0.1:8700", False),
        ("http://127.0.0.1:8701", False),
        ("http://127.0.0.1", False),
        ("http://localhost:8700", False),
        ("http://127.0.0.1:8700.evil.example", False),
    ],
)
def test_the_key_goes_to_the_origin_that_it_was_saved_for_and_to_no_other(host: str, same: bool) -> None:
    if same:
        assert choose_target(HOME, STORED, host).key == KEY
        assert choose_target(host, STORED).key == KEY
        return
    for settings, node_host, where in ((HOME, host, "the node's field api_key"), (host, "", "Settings > Runflow")):
        with pytest.raises(Refused) as refused:
            choose_target(settings, STORED, node_host)
        if not host.endswith(".example"):
            assert f"is for {HOME}, and goes to no other server" in refused.value.message
            assert where in refused.value.message
            assert KEY not in refused.value.message


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
        choose_target(HOME, None if key is None else StoredKey(key, HOME))


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
