import httpx
import pytest

from runflow.outgoing.errors import BlockedAddress, InvalidUrl
from runflow.outgoing.urls import check_url, label, origin, redirect_target


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "//host/x", "ftp://host/x", "file:///etc/passwd", "gopher://host", "http://", "https:///path",
        "http://user@host/", "http://user:password@host/", "http://:password@host/", "http://h\\@host/",
        "http://host:0/", "http://host:65536/", "http://host:port/", "http://a b/", "http://[fe80::1%25eth0]/",
        "http://[::1/", "http://h\nost/", "http://host/\x00", "http://①.example/", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_what_may_not_be_requested(url: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        check_url(url)
    assert "password" not in str(caught.value).replace("user name or password", "")


@pytest.mark.parametrize("url", ["", "hook", "//host/x"])
def test_a_url_without_a_scheme_is_told_how_to_write_one(url: str) -> None:
    with pytest.raises(InvalidUrl, match=r"names no scheme\. Write it as https://host/path\."):
        check_url(url)


@pytest.mark.parametrize(
    "url", ["http://host", "https://example.com:8443/a?b=c", "http://127.1/", "http://[2606:4700::1]:80/", "HTTP://H/"]
)
def test_what_may_be_requested(url: str) -> None:
    assert check_url(url).scheme in ("http", "https")


def test_label_tells_host_and_port_only() -> None:
    assert label(check_url("https://example.com/secret?token=1")) == "example.com"
    assert label(check_url("https://[2606:4700::1]:8443/")) == "[2606:4700::1]:8443"


def test_origin_fills_in_the_port() -> None:
    assert origin(check_url("https://Example.com/x")) == ("https", "example.com", 443)
    assert origin(check_url("http://example.com:8700")) == ("http", "example.com", 8700)


def _answer(status: int, location: str | None) -> httpx.Response:
    return httpx.Response(status, headers={} if location is None else {"location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(status: int) -> None:
    here = check_url("https://a.example/x/y")
    assert redirect_target(here, _answer(status, "z")) == httpx.URL("https://a.example/x/z")
    assert redirect_target(here, _answer(status, "//b.example/")) == httpx.URL("https://b.example/")


@pytest.mark.parametrize(("status", "location"), [(200, "/x"), (304, "/x"), (302, None), (302, "")])
def test_answers_that_are_no_redirect(status: int, location: str | None) -> None:
    assert redirect_target(check_url("https://a.example/"), _answer(status, location)) is None


def test_a_downgrade_is_refused() -> None:
    with pytest.raises(BlockedAddress, match="from https to http"):
        redirect_target(check_url("https://a.example/"), _answer(302, "http://a.example/"))


@pytest.mark.parametrize("location", ["file:///etc/passwd", "https://user:pw@b.example/", "https://b.example:0/"])
def test_a_redirect_is_checked_like_any_url(location: str) -> None:
    with pytest.raises(InvalidUrl, match=r"a\.example redirects"):
        redirect_target(check_url("https://a.example/"), _answer(302, location))
