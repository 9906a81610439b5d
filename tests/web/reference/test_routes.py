"""The reference that the server serves about itself."""

import re

import httpx
import pytest


async def test_a_browser_at_the_address_of_the_server_is_led_to_the_page(anonymous: httpx.AsyncClient) -> None:
    front = await anonymous.get("/", follow_redirects=True)
    assert (front.status_code, front.url.path, "Runflow API" in front.text) == (200, "/docs", True)


async def test_a_monitor_that_asks_for_the_head_of_the_address_finds_it_there(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.head("/")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_page_loads_nothing_from_another_host(anonymous: httpx.AsyncClient) -> None:
    page = await anonymous.get("/docs")
    assert page.status_code == 200
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) >= 4
    for address in named:
        assert not address.startswith(("http:", "https:", "//"))
        if not address.startswith("data:"):
            assert (await anonymous.get(f"/{address}")).status_code == 200, address
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["../routes.py", "routes.py", "assets/redoc.standalone.js", "..%2fllms.py"])
async def test_it_serves_its_own_files_only(anonymous: httpx.AsyncClient, name: str) -> None:
    answer = await anonymous.get(f"/docs/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
