"""The public services of the scan on this machine: answering well, badly, late, too much, or not at all."""

import asyncio
import gzip
import json
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

ADDRESS = "8.8.4.4"


class Services:
    """One server with a path for each behaviour; `asked` holds what was asked for ports."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.open = {8188}
        self.port_answer: Any = None
        app = web.Application()
        for path, text in {
            "/ip": f"{ADDRESS}\n",
            "/private": "10.1.2.3",
            "/html": "<p>no",
            "/six": "2606:4700::1",
        }.items():
            app.router.add_get(path, self._text(text))
        app.router.add_get("/error", self._error)
        app.router.add_get("/moved", self._moved)
        app.router.add_get("/huge", self._text("1" * 100_000))
        app.router.add_get("/zipped", self._zipped)
        app.router.add_get("/late", self._late)
        app.router.add_post("/ports", self._ports)
        app.router.add_post("/error", self._error)
        app.router.add_post("/late", self._late)
        self.server = TestServer(app)

    def url(self, path: str) -> str:
        return str(self.server.make_url(path))

    def _text(self, text: str) -> Any:
        async def answer(_request: web.Request) -> web.Response:
            return web.Response(text=text)

        return answer

    async def _zipped(self, _request: web.Request) -> web.Response:
        """Compressed, although that was not asked for: a little that may become a lot."""
        return web.Response(body=gzip.compress(ADDRESS.encode()), headers={"Content-Encoding": "gzip"})

    async def _error(self, _request: web.Request) -> web.Response:
        return web.Response(status=500)

    async def _moved(self, _request: web.Request) -> web.Response:
        raise web.HTTPFound("/ip")

    async def _late(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return web.Response(text=ADDRESS)

    async def _ports(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked.append(asked)
        if self.port_answer is not None:
            return web.Response(text=json.dumps(self.port_answer), content_type="application/json")
        checks = [{"port": port, "status": port in self.open} for port in asked["ports"]]
        return web.json_response({"error": False, "msg": None, "host": asked["host"], "check": checks})
