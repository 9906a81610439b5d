from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.outgoing.filename import MAX_LENGTH, filename_of


@pytest.mark.parametrize(
    ("path", "disposition", "expected"),
    [
        ("/a/photo.png", None, "photo.png"),
        ("/a/my%20photo.png?x=y.jpg", None, "my photo.png"),
        ("/a/", None, None),
        ("/x", 'attachment; filename="cat.jpg"', "cat.jpg"),
        ("/x", "attachment; filename*=UTF-8''%e2%82%ac.png", "€.png"),
        ("/x.png", 'attachment; filename="../../etc/passwd"', "passwd"),
        ("/x.png", 'attachment; filename="C:\\dir\\cat.jpg"', "cat.jpg"),
        ("/x.png", "attachment", "x.png"),
        ("/x.png", 'attachment; filename=".."', "x.png"),
        ("/..%2f..%2fetc%2fpasswd", None, "passwd"),
        ("/.bashrc", None, "bashrc"),
        ("/" + "a" * 300 + ".safetensors", None, "a" * (MAX_LENGTH - 12) + ".safetensors"),
    ],
)
def test_filename(path: str, disposition: str | None, expected: str | None) -> None:
    assert filename_of(httpx.URL("https://host" + path), disposition) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=400), st.text(max_size=400))
def test_a_filename_is_always_one_safe_component(segment: str, header: str) -> None:
    name = filename_of(httpx.URL("https://host/" + quote(segment, safe="")), f"attachment; filename={header}")
    if name is not None:
        assert 0 < len(name) <= MAX_LENGTH
        assert not set(name) & set("/\\\x00\r\n\t:")
        assert not name.startswith(".")
        name.encode()
