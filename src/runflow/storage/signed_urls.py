"""Signed URLs: the permission to do one thing with one object until a time, without any other credential.

The signature covers the method, the object key, the expiry and everything that was declared, so that none of them can
be changed. It is an HMAC-SHA256 under a key that only this installation's server processes can derive.
"""

import base64
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import orjson

from runflow import errors
from runflow.master_key import MasterKey
from runflow.storage import keys

UPLOAD = "PUT"
DOWNLOAD = "GET"
_PATH = "/v1/storage/"
_ONCE = "once"
_DECLARED = {UPLOAD: ("type", "size", "limit"), DOWNLOAD: ("filename", "type")}


@dataclass(frozen=True, slots=True)
class UploadGrant:
    """May store one object: bytes of this type, of exactly `size_bytes` where that is known, at most `max_bytes`."""

    key: str
    content_type: str
    size_bytes: int | None
    max_bytes: int
    once: bool = False
    """It replaces nothing, and holds only as long as the attempt that it was made for."""


@dataclass(frozen=True, slots=True)
class DownloadGrant:
    """May read one object, to be served under this name and type, for `seconds_left` more seconds."""

    key: str
    filename: str | None
    content_type: str | None
    seconds_left: int


class UrlSigner:
    """Makes and checks signed URLs."""

    def __init__(self, key: bytes) -> None:
        """Take the secret, `master_key.derive("urls")`."""
        self._key = key

    @classmethod
    def of(cls, key: MasterKey) -> Self:
        """Return the signer of this installation."""
        return cls(key.derive("urls"))

    def sign(self, base: str, method: str, key: str, declared: Mapping[str, str | None], seconds: int) -> str:
        """Return `{base}/v1/storage/{key}?…` that is valid for `seconds`. Raises `InvalidKey`."""
        values = {"expires": str(int(time.time()) + seconds)}
        values |= {name: value for name, value in declared.items() if value is not None}
        values["signature"] = self._signature(method, keys.validate(key), values)
        return f"{base}{_PATH}{quote(key)}?{urlencode(values, quote_via=quote)}"

    def upload_grant(self, key: str, query: Mapping[str, str]) -> UploadGrant:
        """Check the URL of a PUT. Raises `UrlExpired` when it is expired, altered, or was made for something else."""
        self._check(UPLOAD, key, query)
        size = query.get("size")
        most, once = int(query["limit"]), _ONCE in query
        return UploadGrant(key, query["type"], None if size is None else int(size), most, once)

    def download_grant(self, key: str, query: Mapping[str, str]) -> DownloadGrant:
        """Check the URL of a GET. Raises `UrlExpired` when it is expired, altered, or was made for something else."""
        seconds_left = self._check(DOWNLOAD, key, query)
        return DownloadGrant(key, query.get("filename"), query.get("type"), seconds_left)

    def own_grant(self, url: str) -> DownloadGrant | None:
        """Return what a signed download URL of this installation allows; None for every other URL.

        By its signature alone: the same server is reached by more than one name. Raises `UrlExpired` for one of ours
        that is over.
        """
        if not url.isascii():
            return None
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        _, found, rest = parts.path.partition(_PATH)
        key, query = unquote(rest), dict(parse_qsl(parts.query))
        return self.download_grant(key, query) if found and self._is_signed(DOWNLOAD, key, query) else None

    def _check(self, method: str, key: str, query: Mapping[str, str]) -> int:
        if not self._is_signed(method, key, query):
            raise errors.UrlExpired
        seconds_left = int(query["expires"]) - int(time.time())
        if seconds_left <= 0:
            raise errors.UrlExpired
        return seconds_left

    def _is_signed(self, method: str, key: str, query: Mapping[str, str]) -> bool:
        given = query.get("signature", "")
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._signature(method, key, query).encode())

    def _signature(self, method: str, key: str, values: Mapping[str, str]) -> str:
        # A JSON list keeps neighbours apart: no value can pretend to be part of the next one.
        covered = [method, key, values.get("expires"), *(values.get(name) for name in _DECLARED[method])]
        if _ONCE in values:
            covered.append(values[_ONCE])
        digest = hmac.digest(self._key, orjson.dumps(covered), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
