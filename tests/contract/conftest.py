"""A deployed workflow with a worker, and pages of other origins that call as a browser lets them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from runflow.web.services import Services
from tests.support.application import MakeKey, open_client

EDITOR = "http://127.0.0.1:8188"


class Refused(AssertionError):
    """A browser would not have let the page read this answer."""


@dataclass
class Page:
    """Calls as a script in a page of another origin does: a preflight first, then the request, if that allows it."""

    http: httpx.AsyncClient
    origin: str = EDITOR

    async def fetch(self, method: str, url: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Raise `Refused` where CORS would keep the page from sending the request or reading the answer."""
        sent = {name.lower() for name in headers or {}}
        asked = await self.http.options(
            url,
            headers={
                "Origin": self.origin,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": ",".join(sorted(sent)),
            },
        )
        allowed = {name.strip().lower() for name in asked.headers.get("Access-Control-Allow-Headers", "").split(",")}
        methods = {name.strip() for name in asked.headers.get("Access-Control-Allow-Methods", "").split(",")}
        if asked.status_code not in (200, 204) or not self._may_read(asked) or method not in methods | {"GET", "POST"}:
            raise Refused(f"preflight of {method} {url}: {asked.status_code} {asked.headers}")
        if not sent <= allowed:
            raise Refused(f"preflight of {method} {url} allows {allowed}, not {sent}")
        answer = await self.http.request(method, url, headers={"Origin": self.origin, **(headers or {})}, **more)
        if not self._may_read(answer):
            raise Refused(f"{method} {url}: no page may read this answer: {answer.headers}")
        return answer

    def _may_read(self, answer: httpx.Response) -> bool:
        return answer.headers.get("Access-Control-Allow-Origin") in ("*", self.origin)


@pytest.fixture
async def page(services: Services) -> AsyncIterator[Page]:
    """The page of a ComfyUI editor; it sends its key itself."""
    async with open_client(services, None) as http:
        yield Page(http)


@pytest.fixture
async def publishing_key(make_key: MakeKey) -> str:
    """A key with the scopes that the plugin's documentation asks for, and no other."""
    return await make_key(scopes=("comfyui-workflows:read", "comfyui-workflows:create", "comfyui-workflows:edit"))
