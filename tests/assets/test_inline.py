import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow import errors
from runflow.assets.inline import MAX_DATA_URI_BYTES, parse_data_uri


def test_base64() -> None:
    assert parse_data_uri("data:image/png;base64,aGVsbG8=") == ("image/png", b"hello")
    assert parse_data_uri("DATA:image/png;BASE64,aGVs\nbG8") == ("image/png", b"hello")
    assert parse_data_uri("data:text/plain;charset=utf-8;base64,aGVsbG8=") == ("text/plain;charset=utf-8", b"hello")


def test_percent_encoding() -> None:
    assert parse_data_uri("data:text/plain,a%20b%2Cc,d") == ("text/plain", b"a b,c,d")
    assert parse_data_uri("data:,x") == ("text/plain;charset=US-ASCII", b"x")
    assert parse_data_uri("data:;charset=utf-8,x") == ("text/plain;charset=utf-8", b"x")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("", "no data URI"),
        ("data:image/png;base64", "no data URI"),
        ("https://example.com/,x", "no data URI"),
        ("data:image/png;base64,****", "cannot be decoded"),
        ("data:image/png;base64,a", "cannot be decoded"),
        ("data:image/png;base64,ü", "cannot be decoded"),
        ("data:image/png;base64,", "no bytes"),
        ("data:nonsense,x", "not a MIME type"),
        ("data:a/b\r\nX: y,x", "not a MIME type"),
        (f"data:a/{'b' * 300},x", "not a MIME type"),
    ],
)
def test_what_cannot_be_read(uri: str, reason: str) -> None:
    with pytest.raises(errors.ValidationFailed, match=reason):
        parse_data_uri(uri)


def test_the_limit_counts_bytes() -> None:
    most = base64.b64encode(bytes(MAX_DATA_URI_BYTES)).decode()
    assert len(parse_data_uri(f"data:a/b;base64,{most}")[1]) == MAX_DATA_URI_BYTES
    more = base64.b64encode(bytes(MAX_DATA_URI_BYTES + 1)).decode()
    too_long = ("x" * (MAX_DATA_URI_BYTES + 1), "%00" * 2_000_000)
    for uri in (f"data:a/b;base64,{more}", *(f"data:a/b,{data}" for data in too_long)):
        with pytest.raises(errors.ValidationFailed, match="POST /v1/asset-uploads"):
            parse_data_uri(uri)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for uri in (text, "data:" + text, "data:image/png;base64," + text):
        try:
            mime_type, content = parse_data_uri(uri)
        except errors.ValidationFailed:
            continue
        assert content and mime_type.isprintable()
