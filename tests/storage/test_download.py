import pytest

from runflow.storage.download import download_headers, is_unchanged
from runflow.storage.signed_urls import DownloadGrant


def headers(content_type: str | None, filename: str | None = "a.png") -> dict[str, str]:
    return download_headers(DownloadGrant("k", filename, content_type, 100), '"tag"')


def test_pictures_are_shown_and_documents_are_not() -> None:
    assert headers("image/png")["Content-Disposition"].startswith("inline")
    assert headers("video/mp4")["Content-Disposition"].startswith("inline")
    for dangerous in ("text/html", "image/svg+xml", "IMAGE/SVG+XML", "application/xhtml+xml", "text/xml", None):
        assert headers(dangerous)["Content-Disposition"].startswith("attachment"), dangerous


def test_no_file_can_do_harm_in_a_browser() -> None:
    for content_type in ("text/html", "image/svg+xml", "image/png"):
        found = headers(content_type)
        assert found["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in found["Content-Security-Policy"]
        assert "allow-" not in found["Content-Security-Policy"]
        assert "default-src 'none'" in found["Content-Security-Policy"]


@pytest.mark.parametrize("content_type", ["image/png\r\nX: y", "", "ü/x", "a\x00b"])
def test_a_type_that_is_no_header_is_not_sent(content_type: str) -> None:
    assert headers(content_type)["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("declared", "served"),
    [
        ("image/png, text/html", "application/octet-stream"),
        ("image/png; a=b, text/html", "image/png"),
        ("video/webm;codecs=vp9,opus", "video/webm"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        (",text/html", "application/octet-stream"),
        (";,text/html", "application/octet-stream"),
    ],
)
def test_no_type_hides_behind_another(declared: str, served: str) -> None:
    assert headers(declared)["Content-Type"] == served


def test_a_file_name_survives_in_both_forms() -> None:
    assert headers("image/png", 'grüße "1" 日本.png')["Content-Disposition"] == (
        "inline; filename=\"gr__e _1_ __.png\"; filename*=UTF-8''gr%C3%BC%C3%9Fe%20%221%22%20%E6%97%A5%E6%9C%AC.png"
    )
    assert "\n" not in headers("image/png", "a\r\nSet-Cookie: x")["Content-Disposition"]
    assert headers("image/png", None)["Content-Disposition"] == "inline"


def test_a_copy_is_known_by_its_tag() -> None:
    assert is_unchanged('"x", W/"tag"', '"tag"')
    assert is_unchanged("*", '"tag"')
    assert not is_unchanged('"x"', '"tag"')
    assert not is_unchanged(None, '"tag"')
