"""Which addresses may be asked for files: https at public hosts, and what the environment of this process allows.

`RUNFLOW_AUTOSETUP_ALLOWED_SOURCES` holds URL prefixes, separated by commas or blanks (docs/plugin.md,
"Auto setup"). No route, setting or workflow can set it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

from ..graph.addresses import is_public, parse_address
from ..manifest.checkout import SECRET_PARAMETER, without_credentials

VARIABLE = "RUNFLOW_AUTOSETUP_ALLOWED_SOURCES"
_PORTS = {"https": 443, "http": 80}
_MAX_URL = 2000
_MAX_REDIRECT = 8000
_SHOWN = 500
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-\[\]-~]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class SourceRefused(Exception):
    """An address is refused; the message says why, in words for the person who sees the plan."""


@dataclass(frozen=True)
class Source:
    """An address that may be asked. `trusted`: the environment allows it, so private hosts and http are fine."""

    url: str
    scheme: str
    host: str
    port: int
    trusted: bool

    @property
    def path(self) -> Path:
        """The file or folder of a `file:` address."""
        return Path(url2pathname(urlsplit(self.url).path))


class Sources:
    """The rules for addresses, with what one process environment adds to them."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read the prefixes; one that is no http, https or file URL allows nothing."""
        texts = re.split(r"[,\s]+", environment.get(VARIABLE, ""))
        self._prefixes = [urlsplit(text) for text in texts if text]

    def check(self, url: object, *, redirected: bool = False) -> Source:
        """The source that an address means. `redirected`: a host gave it, and signs what it gives (as storage does).

        Raises:
            SourceRefused: it must not be asked.
        """
        parts = _split(url, _MAX_REDIRECT if redirected else _MAX_URL)
        if not redirected and any(SECRET_PARAMETER.search(pair.partition("=")[0]) for pair in parts.query.split("&")):
            raise SourceRefused("the address carries a token or a signature. Remove it, or get the file by hand.")
        if parts.scheme == "file":
            return self._check_file(parts)
        if parts.scheme not in _PORTS:
            raise SourceRefused(f"{parts.scheme}: is not a way to get files here; only https is.")
        host, port = _host(parts)
        trusted = any(_covers(prefix, parts) for prefix in self._prefixes)
        if parts.scheme == "http" and not trusted:
            raise SourceRefused("http is not encrypted, so anybody on the way could change what arrives. Use https.")
        if is_literal(host) and not is_public(host) and not trusted:
            raise SourceRefused(f"{host} is an address of this machine or of a private network.")
        return Source(urlunsplit(parts._replace(fragment="")), parts.scheme, host, port, trusted)

    def _check_file(self, parts: SplitResult) -> Source:
        if parts.netloc:
            raise SourceRefused("a file: address must not name another machine.")
        source = Source(urlunsplit(parts._replace(query="", fragment="")), "file", "", 0, trusted=True)
        allowed = [prefix for prefix in self._prefixes if prefix.scheme == "file" and not prefix.netloc]
        # Links are followed before the comparison: one inside an allowed folder may lead out of it.
        place = source.path.resolve()
        if not any(place.is_relative_to(Path(url2pathname(prefix.path)).resolve()) for prefix in allowed):
            raise SourceRefused("files of this machine are no source, unless its operator allows the folder.")
        return source


def shown(url: object) -> str:
    """An address as a page may show it, whatever it is: short, without user, password and token."""
    text = url[:_SHOWN] if isinstance(url, str) else ""
    return without_credentials(text) or re.sub(r"[^/\s]*@", "…@", text).partition("?")[0]


def is_literal(host: str) -> bool:
    """Whether a host is written as an IP address, for which nobody asks a name server."""
    return parse_address(host) is not None


def _split(url: object, most: int) -> SplitResult:
    if not isinstance(url, str) or not url:
        raise SourceRefused("no address is given.")
    if len(url) > most or not _PLAIN.fullmatch(url):
        raise SourceRefused("this is not a plain web address.")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises for a bad one)
    except ValueError:
        raise SourceRefused("this is not a valid web address.") from None
    if "::" in url.partition("/")[0]:
        raise SourceRefused("git's remote helpers are not allowed; only https is.")
    if "@" in parts.netloc:
        raise SourceRefused("the address carries a user or a password. Remove it; a shared file is no place for one.")
    path = unquote(unquote(parts.path))
    if "\\" in path or ".." in path.split("/") or any(ord(letter) < 32 for letter in path):
        raise SourceRefused("the path of the address steps out of its folder.")
    return parts._replace(scheme=parts.scheme.lower())


def _host(parts: SplitResult) -> tuple[str, int]:
    host = parts.hostname or ""
    if not host or host.startswith("-"):
        raise SourceRefused("the address names no host.")
    # Some name services take 127.1, 2130706433 or 0x7f000001 for addresses, and some clients then ask nobody.
    last = host.rstrip(".").rpartition(".")[2]
    if (_NUMBER.fullmatch(last) or ":" in host) and not is_literal(host):
        raise SourceRefused(f"{host} is an odd way to write an address.")
    return host, parts.port or _PORTS[parts.scheme]


def _covers(prefix: SplitResult, parts: SplitResult) -> bool:
    try:
        same = prefix.scheme in _PORTS and prefix.scheme == parts.scheme and _host(prefix) == _host(parts)
    except (ValueError, SourceRefused):
        return False
    folder = prefix.path.rstrip("/")
    return same and (parts.path == folder or parts.path.startswith(folder + "/"))
