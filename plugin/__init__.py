"""ComfyUI-Runflow: turn a ComfyUI workflow into a callable API. ComfyUI imports this folder and takes these names.

What needs ComfyUI's server is imported only where there is one, so that the pure parts load everywhere.
"""

from __future__ import annotations

from typing import Any

from . import comfyui
from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
WEB_DIRECTORY = "./web"
_REGISTERED = "_runflow_registered"


def register() -> None:
    """Add our routes and middlewares to ComfyUI's server, once; does nothing where there is no server."""
    running = comfyui.server()
    if running is None:
        return
    if getattr(running, _REGISTERED, False):
        comfyui.LOG.warning(
            "The Runflow plugin is in custom_nodes twice; this copy serves no routes. Remove one of them."
        )
        return
    setattr(running, _REGISTERED, True)
    from . import cache_use, model_loads, peak_memory, process_secret
    from .routes import MIDDLEWARES, add_to
    from .security.authenticator import AUTHENTICATOR, Authenticator

    if process_secret.is_of_a_worker():  # its log says of each line when it came, and in which run
        comfyui.print_at_once()
        peak_memory.watch(running)
        model_loads.watch(running)
    else:
        cache_use.watch()
    add_to(running.routes)
    running.app[AUTHENTICATOR] = Authenticator.of_comfyui()
    middlewares = running.app.middlewares
    own = [place for place, each in enumerate(middlewares) if _is_comfyuis(each)]
    after_own = own[-1] + 1 if own else 0
    for place, middleware in enumerate(MIDDLEWARES, start=after_own):
        middlewares.insert(place, middleware)


def _is_comfyuis(middleware: Any) -> bool:
    """Whether a middleware is ComfyUI's own. They answer preflights and add headers, but serve nothing."""
    return str(getattr(middleware, "__module__", "")).partition(".")[0] in ("server", "middleware")


register()
