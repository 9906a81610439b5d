"""How long a caller waits: the parameter, the header of RFC 7240, and what is cut or passed over."""

import pytest
from starlette.requests import Request

from runflow.web.waiting import MAX_WAIT_SECONDS, preferred, wait_of_headers


def asking(*prefer: str) -> Request:
    headers = [(b"prefer", value.encode()) for value in prefer]
    return Request({"type": "http", "headers": headers, "query_string": b""})


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ((), 0),
        (("wait=7",), 7),
        (("WAIT = 7",), 7),
        (('wait="7"',), 7),
        (("respond-async, wait=12; foo=bar",), 12),
        (("return=minimal", "wait=3"), 3),
        (("wait",), MAX_WAIT_SECONDS),
        (("wait=0",), 0),
        (("wait=86400",), MAX_WAIT_SECONDS),
        (("wait=soon",), 0),
        (("wait=-1",), 0),
        (("await=5",), 0),
        (("handling=lenient; wait=5",), 0),
    ],
)
def test_what_a_header_prefers(prefer: tuple[str, ...], seconds: float) -> None:
    assert wait_of_headers(asking(*prefer)) == seconds


async def test_the_parameter_wins_over_the_header() -> None:
    assert await preferred(asking("wait=7"), 2.5) == 2.5
    assert await preferred(asking("wait=7"), 0.0) == 0
    assert await preferred(asking("wait=7"), None) == 7
