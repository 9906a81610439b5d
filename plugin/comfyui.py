"""The ComfyUI that runs the plugin: its server, its folders, its events. Everything we take from it goes through here.

Nothing of ComfyUI is imported when the plugin is: the same files also load in tests and where no server runs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

LOG = logging.getLogger("runflow")
_closing: set[asyncio.Future[Any]] = set()


def server() -> Any:
    """ComfyUI's PromptServer, or None where none runs."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def print_at_once() -> None:
    """Let each line that a node prints out when it is printed: ComfyUI keeps them until they are many, or it ends."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)


def send(event: str, data: dict[str, Any], client_id: str | None) -> None:
    """Send an event to one page, or to every page when `client_id` is None. Any thread may call it."""
    running = server()
    if running is not None:
        running.send_sync(event, data, client_id)


START = "execution_start"
"""The message about a prompt's begin."""
ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})
"""The messages about its end: ComfyUI keeps the same objects in the prompt's history."""


def listen(running: Any, heard: Callable[[str, Any], None]) -> None:
    """Let `heard` look at each message of a server before it is sent, and add to it; what it raises is logged."""
    send: Callable[..., None] = running.send_sync

    def send_sync(event: Any, data: Any, *rest: Any, **named: Any) -> None:
        try:
            heard(event, data)
        except Exception:
            LOG.exception("Runflow: a prompt could not be measured")
        send(event, data, *rest, **named)

    running.send_sync = send_sync


def close_sockets() -> None:
    """Close every page's websocket. Pages open a new one at once; for that they need the password that is valid now."""
    running = server()
    if running is None:
        return
    for socket in list(running.sockets.values()):
        closing = asyncio.ensure_future(socket.close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


def prompts_left() -> int:
    """How many prompts ComfyUI executes or has waiting."""
    return int(server().prompt_queue.get_tasks_remaining())


def allowed_origin() -> str | None:
    """The web site whose pages ComfyUI was told to answer (`--enable-cors-header`); `*` for all, None for none."""
    return _arguments().enable_cors_header or None


def listening() -> tuple[list[str], int, bool]:
    """The addresses and the port that ComfyUI was told to listen at, and whether it serves TLS there."""
    arguments = _arguments()
    addresses = [address.strip() for address in str(arguments.listen).split(",") if address.strip()]
    return addresses, int(arguments.port), bool(arguments.tls_keyfile and arguments.tls_certfile)


def _arguments() -> Any:
    from comfy.cli_args import args

    return args


def user_id(request: web.Request) -> str:
    """The user whom ComfyUI takes the request for: `default`, unless it runs with --multi-user.

    Raises:
        KeyError: the request names a user that does not exist.
    """
    return str(server().user_manager.get_request_user_id(request))


def asked_by(request: web.Request) -> Any:
    """The request of a page that names its user in its address (`?user=`), because it cannot send ComfyUI's header:
    for `user_id` and `user_settings`.
    """
    named = request.query.get("user")
    return request if named is None else SimpleNamespace(headers={"comfy-user": named})


def user_settings(request: web.Request) -> dict[str, Any]:
    """The settings of the request's user, as the page reads them."""
    return dict(server().user_manager.settings.get_settings(request))


def save_user_settings(request: web.Request, settings: dict[str, Any]) -> None:
    """Replace the settings of the request's user."""
    server().user_manager.settings.save_settings(request, settings)


def private_folder() -> Path:
    """Our folder for what no page may read: in ComfyUI's user folder, but out of reach of its routes; made if missing.

    ComfyUI gives no user whose name begins with two underscores to any request.
    """
    import folder_paths

    folder = Path(folder_paths.get_user_directory()) / "__runflow"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def input_folder() -> Path:
    """ComfyUI's input folder."""
    import folder_paths

    return Path(folder_paths.get_input_directory())


def result_folders() -> dict[str, Path]:
    """ComfyUI's folders for what nodes save, by the type under which they report it."""
    import folder_paths

    return {"output": Path(folder_paths.get_output_directory()), "temp": Path(folder_paths.get_temp_directory())}


def root_folder() -> Path:
    """The folder that holds ComfyUI's own source."""
    import folder_paths

    return Path(folder_paths.__file__).resolve().parent


class Catalogue:
    """The node classes and model folders of this ComfyUI (manifest.node_catalogue.NodeCatalogue)."""

    def __init__(self) -> None:
        """Look at what is loaded now."""
        import folder_paths

        self._paths: Any = folder_paths
        self._classes: dict[str, Any] = sys.modules["nodes"].NODE_CLASS_MAPPINGS
        self.models_root = Path(folder_paths.models_dir)
        self.custom_nodes = tuple(Path(folder) for folder in folder_paths.get_folder_paths("custom_nodes"))

    def is_output(self, class_type: str) -> bool:
        """Whether ComfyUI executes nodes of this class for their own sake."""
        return bool(getattr(self._classes.get(class_type), "OUTPUT_NODE", False))

    def has(self, class_type: str) -> bool:
        """Whether this ComfyUI has the class."""
        return class_type in self._classes

    def module(self, class_type: str) -> str:
        """Where the class comes from, such as `custom_nodes.ComfyUI-Runflow`; empty for an unknown one."""
        return str(getattr(self._classes.get(class_type), "RELATIVE_PYTHON_MODULE", ""))

    def field(self, class_type: str, name: str) -> Any:
        """The declaration of one of its inputs; None for an unknown one, or where the class fails to tell."""
        try:
            declared = self._classes[class_type].INPUT_TYPES()
        except Exception:  # the class is anybody's code
            return None
        return next((group[name] for group in declared.values() if isinstance(group, dict) and name in group), None)

    def model_kinds(self) -> list[str]:
        """The names of the model folders, aliases included."""
        return list(self._paths.folder_names_and_paths)

    def model_folders(self, kind: str) -> list[Path]:
        """The folders of one kind, the one that ComfyUI looks into first at the beginning."""
        return [Path(folder) for folder in self._paths.get_folder_paths(kind)]

    def model_names(self, kind: str) -> list[str]:
        """The files that a node offers for one kind."""
        return list(self._paths.get_filename_list(kind))

    def model_path(self, kind: str, name: str) -> Path | None:
        """The place of a model of one kind; None where there is none of that name."""
        found = self._paths.get_full_path(kind, name)
        if found is not None:
            return Path(found)
        if "folder" in self._paths.folder_names_and_paths[kind][1] and not set(Path(name).parts) <= {".", ".."}:
            places = (Path(folder) / name for folder in self._paths.get_folder_paths(kind))
            return next((place for place in places if place.is_dir()), None)
        return None
