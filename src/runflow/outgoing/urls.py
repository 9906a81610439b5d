"""URLs that others chose: what may be requested at all, before any name is resolved. Pure."""

import re
from collections.abc import Iterable
from ipaddress import AddressValueError, IPv6Address

import httpx

from runflow.outgoing.errors import BlockedAddress, InvalidUrl

Origin = tuple[str, str, int]
"""Scheme, host, port."""

DEFAULT_PORTS = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_SHOWN = 100


def check_url(url: str) -> httpx.URL:
    """Return the parsed URL. Raises `InvalidUrl` unless it is http(s), names a host and holds no credentials."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidUrl("", "The URL cannot be read. Write it as https://host/path.") from error
    return _checked(parsed)


def _checked(url: httpx.URL) -> httpx.URL:
    host = url.host[:_SHOWN]
    if not url.scheme:
        raise InvalidUrl(host, "The URL names no scheme. Write it as https://host/path.")
    if url.scheme not in DEFAULT_PORTS:
        raise InvalidUrl(host, f"The scheme {url.scheme[:20]!r} is not supported here: use https:// (or http://).")
    if url.userinfo:
        raise InvalidUrl(host, f"The URL of {host} holds a user name or password, which is not supported.")
    if not _is_host(url.host):
        raise InvalidUrl(host, f"The URL names no usable host ({host!r}). Write it as https://host/path.")
    if url.port is not None and not 0 < url.port < 65536:
        raise InvalidUrl(host, f"The URL of {host} has the port {url.port}, which does not exist.")
    return url


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            # A zone (fe80::1%eth0) reaches link-local addresses only.
            return IPv6Address(host).scope_id is None
        except AddressValueError:
            return False
    return _HOST.fullmatch(host) is not None


def label(url: httpx.URL) -> str:
    """Return what messages call a target: its host, and the port where the URL names one."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    return host[:_SHOWN] if url.port is None else f"{host[:_SHOWN]}:{url.port}"


def host_of(url: str) -> str:
    """Return what messages call the target of a URL as text, also of one that cannot be requested."""
    try:
        return label(httpx.URL(url)) or "the target"
    except (httpx.InvalidURL, ValueError):
        return "the target"


def origin(url: httpx.URL) -> Origin:
    """Return the URL's origin, default port filled in."""
    return url.scheme, url.host, url.port or DEFAULT_PORTS[url.scheme]


def parse_origins(urls: Iterable[str]) -> frozenset[Origin]:
    """Return the origins of URLs. Raises `InvalidUrl`."""
    return frozenset(origin(check_url(url)) for url in urls)


def redirect_target(current: httpx.URL, response: httpx.Response) -> httpx.URL | None:
    """Return where an answer redirects to, None where it does not.

    Raises `InvalidUrl`, and `BlockedAddress` for a redirect from https to http.
    """
    location = response.headers.get("location")
    if response.status_code not in REDIRECTS or not location:
        return None
    try:
        target = _checked(current.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise InvalidUrl(label(current), f"{label(current)} redirects to something that is not a URL.") from error
    except InvalidUrl as error:
        raise InvalidUrl(label(current), f"{label(current)} redirects, and that fails: {error}") from error
    if current.scheme == "https" and target.scheme == "http":
        raise BlockedAddress(
            label(target), f"{label(current)} redirects from https to http ({label(target)}), which is refused."
        )
    return target
