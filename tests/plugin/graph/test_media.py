import base64
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import MediaKind, MediaReferenceError, media_reference, path_fault

UUID = "018f3c1e-7b1a-7c3e-9a55-2f6d1c0b4e77"


def refusal(value: str) -> str:
    with pytest.raises(MediaReferenceError) as raised:
        media_reference(value)
    assert len(str(raised.value)) < 400
    return str(raised.value)


def test_an_asset() -> None:
    reference = media_reference(f"runflow://assets/{UUID.upper()}")
    assert (reference.kind, reference.asset_id, reference.value) == (MediaKind.ASSET, UUID, f"runflow://assets/{UUID}")


@pytest.mark.parametrize(
    ("url", "kind"), [("https://h/p.png?sig=a%20b", MediaKind.HTTPS), ("HTTP://h:81/x", MediaKind.HTTP)]
)
def test_urls(url: str, kind: MediaKind) -> None:
    reference = media_reference(url)
    assert (reference.kind, reference.value, reference.asset_id, reference.data) == (kind, url, None, None)


@pytest.mark.parametrize(
    ("uri", "media_type", "data"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", "image/png", b"\x89PNG\r\n\x1a\n"),
        ("DATA:text/plain;charset=utf-8;BASE64,aGk=", "text/plain", b"hi"),
        ("data:,a%20b", "text/plain", b"a b"),
    ],
)
def test_data_uris(uri: str, media_type: str, data: bytes) -> None:
    reference = media_reference(uri)
    assert (reference.kind, reference.media_type, reference.data) == (MediaKind.DATA, media_type, data)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "photo.png",
        "/etc/passwd",
        "C:\\x.png",
        "file:///etc/passwd",
        "ftp://h/x",
        "runflow://assets/",
        "runflow://assets/1234",
        f"runflow://assets/{UUID}/..",
        f"runflow://other/{UUID}",
        f"runflow://assets/{UUID}\n",
        "https://",
        "https:///path",
        "https://h:99999/",
        "https://[::1/",
        "https://h/a b",
        "https://h/\n",
        "https://h/" + "a" * 9000,
        "data:image/png;base64",
        "data:image/png;base64,@@@",
        "data:image/png;base64,abc",
        "data:image/png;base64,",
        "data:;base64," + "A" * 2_000_000,
        "data:," + "a" * 1_048_577,
    ],
)
def test_other_texts_are_refused(value: str) -> None:
    assert refusal(value)


def test_a_data_uri_may_hold_exactly_the_limit() -> None:
    content = base64.b64encode(bytes(1024 * 1024)).decode()
    reference = media_reference(f"data:application/octet-stream;base64,{content}")
    assert reference.data is not None
    assert len(reference.data) == 1024 * 1024
    assert "more than 1048576 bytes" in refusal(f"data:;base64,{base64.b64encode(bytes(1024 * 1024 + 1)).decode()}")


@given(st.text(max_size=60) | st.text(max_size=40).map("https://".__add__) | st.text(max_size=40).map("data:".__add__))
def test_any_text_is_parsed_or_refused(value: str) -> None:
    try:
        reference = media_reference(value)
    except MediaReferenceError:
        return
    assert media_reference(reference.value) == reference


@given(st.binary(min_size=1, max_size=200))
def test_data_survives(data: bytes) -> None:
    reference = media_reference("data:image/webp;base64," + base64.b64encode(data).decode())
    assert (reference.data, reference.media_type) == (data, "image/webp")


@pytest.mark.parametrize("path", ["a", "a/b.png", "runs/x/..hidden", "a..b", "ein Bild.png", "a\\b"])
def test_paths_inside_are_fine(path: str) -> None:
    assert path_fault(path) is None


@pytest.mark.parametrize(
    "path", ["", " ", "/a", "\\a", "C:/a", "c:a", "..", "../a", "a/../b", "a\\..\\b", "a/..", "a\x00b"]
)
def test_paths_that_may_leave_are_not(path: str) -> None:
    assert path_fault(path)


@given(st.text(st.sampled_from("ab./\\:"), max_size=12))
def test_whatever_passes_stays_inside(path: str) -> None:
    if path_fault(path) is None:
        for separators in (path, path.replace("\\", "/")):
            joined = posixpath.normpath(posixpath.join("/root/out", separators))
            assert joined == "/root/out" or joined.startswith("/root/out/")
