"""Which addresses mean the same repository, and which mean none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.protocol.origins import canonical

PLAIN = "https://host.example/me/pack"


@pytest.mark.parametrize(
    "spelling",
    [
        PLAIN,
        f"{PLAIN}/",
        f"{PLAIN}.git",
        f"{PLAIN}.git/",
        f"{PLAIN}.git.git//",
        f"  {PLAIN}\n",
        "HTTPS://Host.EXAMPLE/me/pack",
    ],
)
def test_spellings_of_one_address_are_one_origin(spelling: str) -> None:
    assert canonical(spelling) == PLAIN


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ("https://host.example/Me/pack", "https://host.example/Me/pack"),
        ("https://host.example:8443/me/pack", "https://host.example:8443/me/pack"),
        ("ssh://git@HOST.example/me/pack.git", "ssh://git@host.example/me/pack"),
        ("http://host.example/me/pack", "http://host.example/me/pack"),
        ("file:///srv/Pack", "file:///srv/Pack"),
    ],
)
def test_other_addresses_are_other_origins(other: str, found: str) -> None:
    assert canonical(other) == found != PLAIN


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "host.example/me/pack",
        "/srv/pack",
        "ext::sh -c touch% /tmp/x",
        "git@host.example:me/pack",
        "https://me@host.example/me/pack",
        "https://me:secret@host.example/me/pack",
        "https://host.example@evil.example/me/pack",
        "ssh://me@host.example/me/pack",
        "https://host.example/me/../you/pack",
        "https://host.example/me/%2e%2e/you/pack",
        "https://host.example\\@evil.example/me/pack",
        "https://host.example/me/p\u0430ck",
        "https://h\u043est.example/me/pack",
        "https://host.example/me/pack#you",
        "https://host.example/me/pack?you",
        "https://HOST.example?A/me",
        "https://host.example/me/pa\nck",
        "https://host.example/me/pa\tck",
        "https://host.example/me/pa\0ck",
        "https:///me/pack",
        "https://-oProxyCommand/me",
        f"https://host.example/{'x' * 500}",
    ],
)
def test_what_could_be_read_in_two_ways_is_no_origin(forged: str) -> None:
    assert canonical(forged) is None


@given(st.lists(st.sampled_from(["https://", "/", ".git", "host", "A", "..", "@", ":", "?", "%2e", "."]), max_size=12))
def test_what_it_returns_is_its_own_origin(parts: list[str]) -> None:
    found = canonical("https://Host/" + "".join(parts))
    assert found is None or canonical(found) == found
