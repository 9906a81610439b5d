"""A git repository as it is seen from outside: its address for git, its newest commit, its archive of one commit."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from .fetch import AddressRefused, Fetcher, FetchFailed, addresses
from .sources import Source, SourceRefused, is_literal

_SERVICE = "info/refs?service=git-upload-pack"
_TYPE = "application/x-git-upload-pack-advertisement"
_HEAD = re.compile(rb"[0-9a-f]{4}([0-9a-f]{40}|[0-9a-f]{64}) HEAD[\0\n]")
_ENOUGH = 1 << 16


@dataclass(frozen=True)
class Repository:
    """A repository that answers: its address after redirects on its own host, and its newest commit, if it has one."""

    source: Source
    newest: str | None


async def find_repository(fetcher: Fetcher, url: str) -> Repository:
    """Ask a host for a repository as git does.

    Raises:
        SourceRefused: the address must not be asked.
        FetchFailed: there is no repository.
    """
    source = fetcher.sources.check(url)
    if urlsplit(source.url).query:
        raise SourceRefused("the address of a repository has no query.")
    async with fetcher.get(f"{source.url.rstrip('/')}/{_SERVICE}", one_host=True) as answer:
        if answer.content_type != _TYPE:
            raise FetchFailed(f"{source.host} has no git repository at this address.")
        start = b""
        try:
            while len(start) < _ENOUGH and (chunk := await answer.content.read(4096)):
                start += chunk
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise FetchFailed(f"{source.host} breaks off.") from error
        place = str(answer.url).partition("/info/refs")[0]
    head = _HEAD.search(start)
    return Repository(fetcher.sources.check(place), head[1].decode() if head else None)


async def pinned_addresses(source: Source) -> list[str]:
    """The addresses that git may connect to for this host, judged now; none where the address is written out.

    Raises:
        SourceRefused: one of them is private.
        FetchFailed: the name cannot be looked up.
    """
    if source.scheme == "file" or is_literal(source.host):
        return []
    try:
        return [address for _, address in await addresses(source.host, source.port, trusted=source.trusted)]
    except AddressRefused as error:
        raise SourceRefused(str(error)) from None
    except OSError as error:
        raise FetchFailed(f"{source.host} cannot be found.") from error


def archive_url(repository: str, commit: str) -> str:
    """Where hosts of git offer one commit as an archive: as GitHub, Gitea and Forgejo do it, or as GitLab does."""
    base = repository.rstrip("/").removesuffix(".git")
    host = urlsplit(base).hostname or ""
    inner = "/-" if host == "gitlab.com" or host.startswith("gitlab.") else ""
    return f"{base}{inner}/archive/{commit}.tar.gz"
