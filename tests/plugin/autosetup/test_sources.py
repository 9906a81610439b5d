from pathlib import Path

import pytest

from plugin.autosetup.sources import VARIABLE, SourceRefused, Sources, is_literal
from plugin.graph.addresses import is_public

REFUSED = {
    "https://user:secret@github.com/a/b": "user or a password",
    "https://token@github.com/a/b": "user or a password",
    "https://models.example/a.safetensors?token=abc": "token",
    "https://bucket.example/a.safetensors?X-Amz-Signature=abc": "token",
    "http://github.com/a/b": "not encrypted",
    "ssh://github.com/a/b": "only https",
    "ssh://git@github.com/a/b": "user or a password",
    "git://github.com/a/b": "only https",
    "ext::sh -c touch% /tmp/x": "not a plain",
    "ext::sh%20-c": "remote helpers",
    "git@github.com:a/b": "not a plain",
    "file:///etc/passwd": "files of this machine",
    "ftp://host.example/a": "only https",
    "data:text/plain,x": "only https",
    "javascript:alert(1)": "only https",
    "--upload-pack=touch /tmp/x": "not a plain",
    "-c": "not a plain",
    "https://-oProxyCommand=x/a": "names no host",
    "https:///a/b": "names no host",
    "https://127.0.0.1/a": "private network",
    "https://[::1]/a": "private network",
    "https://[::ffff:10.0.0.1]/a": "private network",
    "https://127.1/a": "odd way",
    "https://2130706433/a": "odd way",
    "https://0x7f000001/a": "odd way",
    "https://0177.0.0.1/a": "odd way",
    "https://127.0.0.1./a": "odd way",
    "https://169.254.169.254/latest/meta-data": "private network",
    "https://host.example:99999/a": "not a valid",
    "https://host.example/a/../../b": "steps out",
    "https://host.example/a/%2e%2e/b": "steps out",
    "https://host.example/a%252f..%252f": "steps out",
    "https://host.example/a\\b": "not a plain",
    "https://host.example/a b": "not a plain",
    "https://host.example/a\nb": "not a plain",
    "https://hóst.example/a": "not a plain",
    "/etc/passwd": "not a plain",
    "": "no address",
    "https://host.example/" + "a" * 3000: "not a plain",
}


@pytest.mark.parametrize("url", REFUSED)
def test_refused_wherever_the_environment_says_nothing(url: str) -> None:
    with pytest.raises(SourceRefused, match=REFUSED[url]):
        Sources({}).check(url)


@pytest.mark.parametrize("url", [None, 7, ["https://a.example"], {"url": "https://a.example"}])
def test_what_is_no_text_is_refused(url: object) -> None:
    with pytest.raises(SourceRefused):
        Sources({}).check(url)


def test_https_on_a_public_host_is_fine() -> None:
    source = Sources({}).check("HTTPS://GitHub.com:8443/a/b.git?x=1#fragment")
    assert (source.url, source.host, source.port) == ("https://GitHub.com:8443/a/b.git?x=1", "github.com", 8443)
    assert not source.trusted


def test_a_prefix_of_the_environment_allows_what_lies_below_it(tmp_path: Path) -> None:
    inside, beside = tmp_path / "packs", tmp_path / "packs-of-others"
    for folder in (inside, beside):
        folder.mkdir()
    (inside / "link").symlink_to(beside)
    sources = Sources({VARIABLE: f"http://127.0.0.1:9000/team, {inside.as_uri()}/ https://10.0.0.7"})
    for good in ("http://127.0.0.1:9000/team", "http://127.0.0.1:9000/team/a", "https://10.0.0.7:443/x"):
        assert sources.check(good).trusted
    assert sources.check((inside / "a").as_uri()).path == inside / "a"
    for bad in (
        "http://127.0.0.1:9000/teams/a",
        "http://127.0.0.1:9000/other",
        "http://127.0.0.1:9001/team/a",
        "https://127.0.0.1:9000/team/a",
        "https://10.0.0.8/x",
        "http://127.0.0.1:9000/team/../other",
        beside.as_uri(),
        f"{inside.as_uri()}/link/file",
        f"file://server{inside}",
    ):
        with pytest.raises(SourceRefused):
            sources.check(bad)


def test_option_injection_and_credentials_are_refused_even_where_everything_else_is_allowed() -> None:
    sources = Sources({VARIABLE: "http://127.0.0.1/ https://user:secret@git.example/ ext:: -c"})
    for bad in ("https://user:secret@git.example/a", "ext::sh", "-c", "--upload-pack=x"):
        with pytest.raises(SourceRefused):
            sources.check(bad)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "169.254.169.254", "fd00::1"])
def test_private_addresses_are_no_public_ones(host: str) -> None:
    assert is_literal(host)
    assert not is_public(host)


def test_a_name_is_no_address() -> None:
    assert not is_literal("localhost")
    assert not is_public("localhost")
