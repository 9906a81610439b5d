"""Which HTTP proxy a request goes through, by the environment variables that every tool honours."""

from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


@lru_cache(maxsize=256)
def _proxy_for_origin(scheme: str, host: str) -> str | None:
    if not host or proxy_bypass(host):
        return None
    return getproxies().get(scheme)


def proxy_for(url: str) -> str | None:
    """Return the proxy for `url` (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), or None for a direct connection."""
    parts = urlsplit(url)
    return _proxy_for_origin(parts.scheme, parts.netloc.rpartition("@")[2])
