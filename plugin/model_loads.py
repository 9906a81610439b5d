"""How long each prompt loaded models, and in which nodes: told to the worker in ComfyUI's own message about its end.

Loading is what the functions below do, whoever calls them: a loader node reads a file, and the first node that computes
with a model has it moved to where it computes. Weights that newer ComfyUIs bring in piece by piece while they compute
are not told apart from computing.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from .comfyui import ENDS, START, listen

FIELD = "runflow_model_loads"
"""In the data of the messages that end a prompt: `{"ms": …, "nodes": {node id: ms}}`, whole milliseconds."""
MOST_NODES = 1000
"""Of the nodes that loaded, those are told that took longest; expanded nodes can be any number."""
_LONGEST_ID = 200

LOADERS = {
    "comfy.model_management": ("load_models_gpu",),
    "comfy.utils": ("load_torch_file",),
    "comfy.sd": (
        "load_checkpoint",
        "load_checkpoint_guess_config",
        "load_checkpoint_guess_config_clip_only",
        "load_checkpoint_guess_config_model_only",
        "load_clip",
        "load_diffusion_model",
        "load_gligen",
        "load_style_model",
        "load_unet",
    ),
    "comfy.clip_vision": ("load",),
    "comfy.controlnet": ("load_controlnet",),
    "comfy.diffusers_load": ("load_diffusers",),
}
"""What loads models in ComfyUI, by module. What a release lacks is passed over, and the rest is measured."""


class ModelLoads:
    """Adds up the time that loaders take. A loader that another one calls counts once, and threads that load at the
    same time count once, so that the sum is never longer than the prompt. All times in seconds of `clock`.
    """

    def __init__(self, server: Any = None, clock: Callable[[], float] = time.perf_counter) -> None:
        """Measure for this server, which knows which node it executes."""
        self._server = server
        self._clock = clock
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._began = 0.0
        self._loading = 0
        self._since = 0.0
        self._total = 0.0
        self._nodes: dict[str, float] = {}
        self._shown: dict[str, str] = {}

    def measured(self, loader: Callable[..., Any]) -> Callable[..., Any]:
        """The same loader, measured."""

        @functools.wraps(loader)
        def load(*given: Any, **named: Any) -> Any:
            if getattr(self._thread, "is_loading", False):
                return loader(*given, **named)
            self._thread.is_loading = True
            node, began = self._enter()
            try:
                return loader(*given, **named)
            finally:
                self._thread.is_loading = False
                self._leave(node, began)

        return load

    def heard(self, event: Any, data: Any) -> None:
        """Take a message of ComfyUI; the one about a prompt's end is given what the prompt has loaded."""
        if event == START:
            self._begin()
        elif event == "executing":
            node, shown = data.get("node"), data.get("display_node")
            if node is not None and shown is not None and node != shown and len(self._shown) < MOST_NODES:
                self._shown[node] = shown
        elif event in ENDS and isinstance(data, dict):
            data[FIELD] = self.told()

    def told(self) -> dict[str, Any]:
        """What was loaded since the last prompt began."""
        with self._lock:
            total = self._total + (self._clock() - self._since if self._loading else 0.0)
            nodes = sorted(self._nodes.items(), key=lambda node: -node[1])[:MOST_NODES]
        return {"ms": round(total * 1000), "nodes": {node: round(seconds * 1000) for node, seconds in nodes}}

    def _begin(self) -> None:
        with self._lock:
            self._began = self._since = self._clock()
            self._total = 0.0
            self._nodes.clear()
            self._shown.clear()

    def _enter(self) -> tuple[str | None, float]:
        node = self._node()
        with self._lock:
            now = self._clock()
            if not self._loading:
                self._since = now
            self._loading += 1
        return node, now

    def _leave(self, node: str | None, began: float) -> None:
        with self._lock:
            now = self._clock()
            self._loading -= 1
            if not self._loading:
                self._total += now - self._since
            if node is not None and (node in self._nodes or len(self._nodes) < 10 * MOST_NODES):
                self._nodes[node] = self._nodes.get(node, 0.0) + now - max(began, self._began)

    def _node(self) -> str | None:
        """The node that this thread executes, as the page shows it; None where nobody knows."""
        node = getattr(_executing(), "node_id", None)
        # A thread that a node has started knows none, nor does an older ComfyUI.
        node = getattr(self._server, "last_node_id", None) if node is None else self._shown.get(node, node)
        return node if isinstance(node, str) and len(node) <= _LONGEST_ID else None


def watch(server: Any) -> None:
    """Measure what every prompt of this server loads from now on. ComfyUI executes one at a time."""
    loads = ModelLoads(server)
    for name, loaders in LOADERS.items():
        module = sys.modules.get(name)
        for loader in loaders:
            found = getattr(module, loader, None)
            if callable(found):
                setattr(module, loader, loads.measured(found))
    listen(server, loads.heard)


def _executing() -> Any:
    """Where ComfyUI says that this thread is in a prompt; None where it says nothing, or is older."""
    get = getattr(sys.modules.get("comfy_execution.utils"), "get_executing_context", None)
    return None if get is None else get()
