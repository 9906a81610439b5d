import base64
import hashlib
import re

import pytest

from plugin.answers import Refused
from plugin.playground import pages


def test_the_foreign_file_is_the_one_that_its_note_names() -> None:
    note = (pages.STATIC / "vendor/README.md").read_text(encoding="utf-8")
    found = re.search(r"SHA-256: `([0-9a-f]{64})`", note)
    assert found is not None
    assert hashlib.sha256((pages.STATIC / "vendor/model-viewer.min.js").read_bytes()).hexdigest() == found[1]


def test_the_viewers_style_is_the_one_that_the_policy_allows() -> None:
    script = (pages.STATIC / "vendor/model-viewer.min.js").read_text(encoding="utf-8")
    (style,) = re.findall(r"<style>(.*?)</style>", script, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"sha256-{digest}" == pages.VIEWER_STYLE


def test_the_page_needs_nothing_that_its_policy_forbids() -> None:
    html = (pages.STATIC / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|https?://", html) == []
    assert "'unsafe-" not in pages.POLICY


@pytest.mark.parametrize(
    "name", ["../pages.py", "vendor/README.md", "/etc/passwd", "components", "../static/../run.py"]
)
def test_nothing_else_is_served(name: str) -> None:
    with pytest.raises(Refused, match="no such file"):
        pages.static(name)
