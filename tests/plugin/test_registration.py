"""What the plugin adds to ComfyUI's server, and where."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import plugin
from plugin import comfyui
from plugin.routes import FEATURES, MIDDLEWARES
from plugin.security.authenticator import AUTHENTICATOR
from plugin.security.middleware import ask_for_password
from plugin.security.password_file import NAME


def test_every_route_is_below_runflow_and_once_there() -> None:
    places = [(method, path) for routes in FEATURES for method, path, _ in routes]
    assert len(set(places)) == len(places)
    assert all(path.startswith("/runflow/") for _, path in places)


def test_the_password_is_the_outermost_of_ours() -> None:
    assert MIDDLEWARES[0] is ask_for_password


def test_they_stand_inside_of_comfyuis_own_middlewares_and_outside_of_everybody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def middleware(module: str) -> Any:
        @web.middleware
        async def pass_on(request: web.Request, handler: Any) -> web.StreamResponse:
            answer: web.StreamResponse = await handler(request)
            return answer

        pass_on.__module__ = module
        return pass_on

    caching, cors = middleware("middleware.cache_middleware"), middleware("server")
    manager, other = middleware("comfyui_manager.middleware"), middleware("custom_nodes.other.server")

    class Server:
        app = web.Application(middlewares=[caching, cors, manager, other])
        routes = web.RouteTableDef()

    monkeypatch.setattr(comfyui, "server", lambda: Server)
    monkeypatch.setattr(comfyui, "root_folder", lambda: tmp_path)
    plugin.register()
    plugin.register()
    assert list(Server.app.middlewares) == [caching, cors, *MIDDLEWARES, manager, other]
    assert Server.app[AUTHENTICATOR].file.path == tmp_path / NAME
    assert len(Server.routes) == sum(len(list(routes)) for routes in FEATURES)
