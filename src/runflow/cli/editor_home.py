"""The folder of `runflow editor`: ComfyUI's base, with the plugin, its settings, its key and a picture to try."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runflow.demo.picture import paint
from runflow.plugin_install import plugin_source
from runflow.private_file import write_private
from runflow.worker.engine.flags import engine_arguments, needs_cpu
from runflow.worker.engine.folders import PLUGIN_FOLDER, prepare_base

SAMPLE = "dream-photo"
"""The workflow of `plugin/example_workflows` that the first start opens."""
URL_SETTING = "Runflow.ApiUrl"
QUIET = {
    # The tutorial is the dialog of templates, empty in an installation without ComfyUI's own.
    "Comfy.TutorialCompleted": True,
    "Comfy.Notification.ShowVersionUpdates": False,
}
"""Settings of a page that greets nobody; what a person sets stays."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Connection:
    """The server that Deploy sends to, and an API key for it."""

    url: str
    key: str

    def __repr__(self) -> str:
        """Without the key: it must not get into a log."""
        return f"Connection(url={self.url!r})"


def prepare(base: Path, comfyui: Path, connection: Connection | None) -> list[str]:
    """Make the folder, or bring it up to date. Returns further arguments for main.py. Raises OSError.

    The address in Settings becomes that of `connection`, unless the person chose another one (`chosen_server`).
    """
    arguments = prepare_base(base, comfyui, plugin_source())
    picture = base / "input" / "example.png"
    if not picture.exists():
        paint(picture)
    settings_file = _settings_file(base)
    before = _read(settings_file)
    settings = {**QUIET, **before}
    if connection is not None and chosen_server(base, connection.url) is None:
        settings[URL_SETTING] = connection.url
        _store_key(base, connection)
    if settings != before:
        write_private(settings_file, json.dumps(settings, indent=2))
    return arguments


def options(comfyui: Path, base: Path, port: int) -> list[str]:
    """Return the arguments of main.py for a person's own editor: nothing is left out of it."""
    return engine_arguments(comfyui, base, port, cpu=needs_cpu(comfyui), cache=True, metadata=True, api_nodes=True)


def stored_key(base: Path, url: str) -> str | None:
    """Return the key that the editor has for this server, None where it has none. Raises OSError."""
    stored = _read(_key_file(base)).get("default")
    if not isinstance(stored, dict) or stored.get("origin") != url or not isinstance(stored.get("key"), str):
        return None
    return str(stored["key"])


def first_page(base: Path) -> str:
    """Return what to open below the editor's address: at the first start the sample, later what was open last."""
    opened = base / ".opened"
    if opened.exists():
        return "/"
    opened.touch()
    return f"/?template={SAMPLE}&source={PLUGIN_FOLDER}"


def chosen_server(base: Path, server: str | None) -> str | None:
    """Return the server that the person chose in Settings, None where that is none, or one of this machine.

    `server` is the one of this home; where it listens at a name or address of the network, that is this machine, too.
    """
    url = _read(_settings_file(base)).get(URL_SETTING)
    if not isinstance(url, str) or not url.strip():
        return None
    ours = LOOPBACK | {_host(server or "")}
    return None if _host(url) in ours else url.strip()


def _host(url: str) -> str | None:
    try:
        return urlsplit(url.strip()).hostname
    except ValueError:
        return None


def _store_key(base: Path, connection: Connection) -> None:
    """Put the key where the plugin keeps it (plugin/deploy/connection.py): in a file of its own, with its server."""
    file = _key_file(base)
    kept = {"key": connection.key, "origin": connection.url}
    write_private(file, json.dumps({**_read(file), "default": kept}))


def _settings_file(base: Path) -> Path:
    return _user_folder(base, "default") / "comfy.settings.json"


def _key_file(base: Path) -> Path:
    return _user_folder(base, "__runflow") / "keys.json"


def _user_folder(base: Path, name: str) -> Path:
    folder = base / "user" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _read(file: Path) -> dict[str, Any]:
    """Return what a file of settings or keys holds; one that cannot be read is kept beside the new one."""
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        file.replace(file.with_name(file.name + ".broken"))
        return {}
    return found
