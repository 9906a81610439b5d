"""Names to addresses, without letting a slow name server hold up anyone else."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host and port as text, in the order to try. Raises OSError."""


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the operating system. Raises OSError (`socket.gaierror`) for a name that does not resolve.

    Each lookup has a thread of its own: the C library cannot be interrupted, and a pool whose threads all wait for
    name servers that never answer would stop every other lookup and everything else in it. A daemon thread does not
    hold up the end of the process either. Callers bound how many run at once.
    """
    with contextlib.suppress(ValueError):
        return [str(ip_address(host))]
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str] | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look() -> None:
        found: list[str] | OSError
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(row[4][0]) for row in rows))
        except OSError as error:
            found = error
        except ValueError as error:  # a label that is empty or too long
            found = socket.gaierror(socket.EAI_NONAME, str(error))
        # The loop is closed when the process ends in the meantime.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=look, name="resolve", daemon=True).start()
    return await answer
