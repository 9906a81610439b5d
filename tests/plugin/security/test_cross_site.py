"""Which requests another web site makes."""

from collections.abc import Mapping

import pytest

from plugin.security.cross_site import is_foreign

OWN = {"Host": "10.0.0.5:8188"}
OTHER = "http://evil.example"


@pytest.mark.parametrize(
    ("method", "path", "headers", "foreign"),
    [
        ("POST", "/prompt", {}, False),  # a program
        ("POST", "/prompt", {"Sec-Fetch-Site": "same-origin", "Origin": "http://10.0.0.5:8188"}, False),
        ("GET", "/view", {"Sec-Fetch-Site": "none"}, False),
        ("POST", "/prompt", {"Sec-Fetch-Site": "cross-site"}, True),
        ("GET", "/view", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"}, True),
        ("GET", "/view", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, True),
        ("GET", "/ws", {"Origin": OTHER}, True),
        ("GET", "/ws", {"Origin": "http://10.0.0.5:8188"}, False),
        ("GET", "/ws", {"Origin": "http://10.0.0.5:9999"}, True),
        ("GET", "/ws", {"Origin": "null"}, True),
        ("GET", "/ws", {"Origin": ""}, True),
        ("GET", "/ws", {"Origin": "http://10.0.0.5:8188:1"}, True),
        ("GET", "/ws", {"Origin": "http://[::1"}, True),
        ("POST", "/prompt", {"Origin": "https://10.0.0.5", "Host": "10.0.0.5:443"}, False),
        ("POST", "/prompt", {"Origin": "http://EDITOR.example", "Host": "editor.example"}, False),
        ("POST", "/prompt", {"Origin": "http://[::1]:8188", "Host": "[::1]:8188"}, False),
        ("GET", "/manager/reboot", {"Referer": OTHER + "/page"}, True),
        ("GET", "/view", {"Referer": "http://10.0.0.5:8188/"}, False),
        # Links may lead to pages.
        ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document", "Referer": OTHER}, False),
        ("GET", "/", {"Referer": OTHER}, False),
        ("GET", "/runflow/playground/cat", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "document"}, False),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}, True),
        ("GET", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "empty", "Origin": OTHER}, True),
        ("POST", "/", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document", "Origin": OTHER}, True),
    ],
)
def test_sites(method: str, path: str, headers: Mapping[str, str], foreign: bool) -> None:
    assert is_foreign(method, path, {**OWN, **headers}, None) is foreign


def test_the_origin_that_comfyui_was_started_with_is_no_stranger() -> None:
    headers = {**OWN, "Origin": OTHER, "Sec-Fetch-Site": "cross-site"}
    assert not is_foreign("POST", "/prompt", headers, OTHER)
    assert is_foreign("POST", "/prompt", headers, "*")
    assert is_foreign("POST", "/prompt", headers, "http://other.example")
    assert is_foreign("POST", "/prompt", {**OWN, "Origin": "", "Sec-Fetch-Site": "cross-site"}, "")
