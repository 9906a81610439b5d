from collections.abc import Callable
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from runflow import errors
from runflow.storage.keys import InvalidKey
from runflow.storage.signed_urls import DOWNLOAD, UPLOAD, UrlSigner

SIGNER = UrlSigner(b"k" * 32)
KEY = "runs/r/l/0-grüße & more?.png"


def parts(url: str) -> tuple[str, dict[str, str]]:
    split = urlsplit(url)
    assert split.path.startswith("/v1/storage/")
    query = {name: values[0] for name, values in parse_qs(split.query, keep_blank_values=True).items()}
    return unquote(split.path.removeprefix("/v1/storage/")), query


def signed_upload(seconds: int = 60) -> tuple[str, dict[str, str]]:
    declared = {"type": "image/png", "size": "10", "limit": "20"}
    return parts(SIGNER.sign("https://box.example", UPLOAD, KEY, declared, seconds))


def signed_download(seconds: int = 60) -> tuple[str, dict[str, str]]:
    return parts(SIGNER.sign("https://box.example", DOWNLOAD, KEY, {"filename": "a;b.png", "type": None}, seconds))


def test_an_upload_url_grants_what_was_declared() -> None:
    key, query = signed_upload()
    grant = SIGNER.upload_grant(key, query)
    assert (grant.key, grant.content_type, grant.size_bytes, grant.max_bytes) == (KEY, "image/png", 10, 20)


def test_a_download_url_grants_what_was_declared() -> None:
    key, query = signed_download()
    grant = SIGNER.download_grant(key, query)
    assert (grant.key, grant.filename, grant.content_type) == (KEY, "a;b.png", None)
    assert 30 < grant.seconds_left <= 60


def altered(name: str, value: str | None) -> Callable[[str, dict[str, str]], tuple[str, dict[str, str]]]:
    def alter(key: str, query: dict[str, str]) -> tuple[str, dict[str, str]]:
        changed = {**query, name: value} if value is not None else {k: v for k, v in query.items() if k != name}
        return key, changed

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        altered("expires", "9999999999"),
        altered("expires", "soon"),
        altered("expires", None),
        altered("type", "text/html"),
        altered("type", None),
        altered("size", "11"),
        altered("size", None),
        altered("limit", "999999"),
        altered("limit", None),
        altered("signature", None),
        altered("signature", ""),
        altered("signature", "A" * 43),
        altered("signature", "ü\ud800"),
        lambda key, query: (key + "x", query),
        lambda key, query: ("runs/other/l/0-x.png", query),
        lambda key, query: ("../" + key, query),
    ],
)
def test_nothing_of_an_upload_url_can_be_changed(
    alter: Callable[[str, dict[str, str]], tuple[str, dict[str, str]]],
) -> None:
    with pytest.raises(errors.UrlExpired):
        SIGNER.upload_grant(*alter(*signed_upload()))


@pytest.mark.parametrize(
    "alter",
    [altered("filename", "evil.exe"), altered("type", "text/html"), altered("expires", "9999999999")],
)
def test_nothing_of_a_download_url_can_be_changed(
    alter: Callable[[str, dict[str, str]], tuple[str, dict[str, str]]],
) -> None:
    with pytest.raises(errors.UrlExpired):
        SIGNER.download_grant(*alter(*signed_download()))


def test_a_signature_of_one_method_never_opens_the_other() -> None:
    with pytest.raises(errors.UrlExpired):
        SIGNER.download_grant(*signed_upload())
    with pytest.raises(errors.UrlExpired):
        SIGNER.upload_grant(*signed_download())
    bare = parts(SIGNER.sign("", DOWNLOAD, KEY, {}, 60))
    with pytest.raises(errors.UrlExpired):
        SIGNER.upload_grant(*bare)


def test_neighbouring_values_cannot_trade_bytes() -> None:
    key, query = parts(SIGNER.sign("", DOWNLOAD, "a/b", {"filename": "x", "type": "y"}, 60))
    with pytest.raises(errors.UrlExpired):
        SIGNER.download_grant(key, {**query, "filename": 'x","y', "type": ""})


def test_an_expired_url_is_refused() -> None:
    with pytest.raises(errors.UrlExpired):
        SIGNER.upload_grant(*signed_upload(seconds=0))
    with pytest.raises(errors.UrlExpired):
        SIGNER.download_grant(*signed_download(seconds=-5))


def test_another_installations_url_is_refused() -> None:
    with pytest.raises(errors.UrlExpired):
        UrlSigner(b"other" * 8).upload_grant(*signed_upload())


def test_only_object_keys_are_signed() -> None:
    with pytest.raises(InvalidKey):
        SIGNER.sign("", DOWNLOAD, "../secret.key", {}, 60)


def test_a_url_is_known_as_our_own_by_its_signature_alone() -> None:
    declared = {"filename": "a;b.png", "type": None}
    url = SIGNER.sign("https://box.example/runflow", DOWNLOAD, KEY, declared, 60)
    for own in (url, url.replace("https://box.example/runflow", "http://127.0.0.1:8700")):
        grant = SIGNER.own_grant(own)
        assert grant is not None and (grant.key, grant.filename) == (KEY, "a;b.png")
    upload_url = SIGNER.sign("https://box.example", UPLOAD, KEY, {"type": "image/png", "limit": "20"}, 60)
    for other in (
        url + "x",
        upload_url,
        url.replace("/v1/storage/", "/v2/storage/"),
        "https://[",
        "https://ü/v1/storage/a",
    ):
        assert SIGNER.own_grant(other) is None
    with pytest.raises(errors.UrlExpired):
        SIGNER.own_grant(SIGNER.sign("https://box.example", DOWNLOAD, KEY, declared, -1))
