"""Reading the Authorization header."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.security.basic_auth import Credentials, read


def header(content: bytes, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (header(b"ann:secret"), ("ann", "secret")),
        (header(b"ann:secret", "bAsIc"), ("ann", "secret")),
        (header(b"ann:with:colons:"), ("ann", "with:colons:")),
        (header(b":"), ("", "")),
        (header("änn:密码".encode()), ("änn", "密码")),
        (header("änn:pässwort".encode("latin-1")), ("änn", "pässwort")),
        (header("a\u0308nn:p".encode()), ("änn", "p")),  # two characters that are one letter
        ("Basic  " + base64.b64encode(b"ann:p").decode() + " ", ("ann", "p")),
    ],
)
def test_credentials(text: str, expected: tuple[str, str]) -> None:
    assert read(text) == Credentials(*expected)
    assert expected[1] == "" or expected[1] not in repr(read(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic YW5u",  # no colon
        "Basic YW5uOnA",  # no padding
        "Basic YW5uO\udcff",
        "Bearer YW5uOnA=",
        "Digest username=ann",
        header(b"a:" + b"x" * 3000),
        "\x00\x01",
        "ä",
    ],
)
def test_garbage_is_nobody(text: str) -> None:
    assert read(text) is None


@given(st.text() | st.binary().map(header))
def test_anything_is_read_without_an_error(text: str) -> None:
    found = read(text)
    assert found is None or isinstance(found, Credentials)
