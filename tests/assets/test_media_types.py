import pytest

from runflow.assets.media_types import asset_type


@pytest.mark.parametrize(
    ("mime_type", "kind"),
    [
        ("image/png", "image"),
        ("IMAGE/PNG; x=y", "image"),
        ("video/mp4", "video"),
        ("audio/flac", "audio"),
        ("model/gltf-binary", "3d"),
        ("text/plain;charset=utf-8", "text"),
        ("application/json", "text"),
        ("application/ld+json", "text"),
        ("application/zip", "archive"),
        ("application/x-7z-compressed", "archive"),
        ("application/octet-stream", "other"),
        ("application/pdf", "other"),
    ],
)
def test_kinds(mime_type: str, kind: str) -> None:
    assert asset_type(mime_type) == kind
