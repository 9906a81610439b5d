"""Where a client finds its server and API key: what it is given, the environment, a saved login.

A saved key belongs to one server's address and is never sent to another.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runflow.client.errors import NotConfigured
from runflow.private_file import write_private

URL_VARIABLE = "RUNFLOW_URL"
KEY_VARIABLE = "RUNFLOW_API_KEY"
CA_VARIABLE = "RUNFLOW_CA_FILE"
DEFAULT_URL = "http://127.0.0.1:8700"
"""Where `runflow up` listens unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A server's address without a slash at its end, and a key for it."""

    url: str
    key: str = field(repr=False)


def find(url: str | None = None, key: str | None = None, *, login: Path | None = None) -> Credentials:
    """Return server and key: what is given; else RUNFLOW_URL and RUNFLOW_API_KEY; else the saved login.

    Raises `NotConfigured` where there is no key for the server.
    """
    url, key = url or os.environ.get(URL_VARIABLE), key or os.environ.get(KEY_VARIABLE)
    # Where both are given no file is looked at: it may be broken, and a container's user may have no home at all.
    saved = {} if url and key else load(login)
    address = normalized(url or saved.get("default") or DEFAULT_URL)
    found = key or saved.get("keys", {}).get(address)
    if not found:
        raise NotConfigured(
            f"There is no API key for {shown(address)}. Save one with `runflow login`, or set {KEY_VARIABLE}."
        )
    if not found.isascii() or not found.isprintable() or " " in found:
        raise NotConfigured(f"The API key for {shown(address)} holds characters that no key has. Copy it once more.")
    return Credentials(address, found)


def normalized(url: str) -> str:
    """Return an address as the client uses it: without `/v1` and slashes at its end. Raises `NotConfigured`."""
    address = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotConfigured(f"{shown(address)!r} is no address of a server. Write http://HOST:PORT or https://HOST.")
    return address


def shown(url: str) -> str:
    """Return an address without the password that it may hold."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2] if separator else url.rpartition("@")[2]


def login_file() -> Path:
    """Return where `runflow login` keeps addresses and keys of this user."""
    try:
        base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:
        raise NotConfigured(
            f"This user has no home folder, where a login would be. Set {URL_VARIABLE} and {KEY_VARIABLE}."
        ) from None
    return Path(base) / "runflow" / "login.json"


def load(path: Path | None = None) -> dict[str, Any]:
    """Return what was saved: `default`, an address, and `keys` by address; nothing where there is no file.

    Raises `NotConfigured` for a file that others can read, or that is broken.
    """
    file = path or login_file()
    try:
        mode = file.stat().st_mode
        found = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise NotConfigured(f"{file} cannot be read ({error}). Remove it and log in again: `runflow login`.") from None
    if os.name == "posix" and mode & 0o077:
        raise NotConfigured(f"Others can read the API keys in {file}. Make it yours alone: chmod 600 {file}")
    return found if isinstance(found, dict) else {}


def save(credentials: Credentials, path: Path | None = None) -> Path:
    """Keep a key for its server, which becomes the default, in a file that only this user can read; return it."""
    file = path or login_file()
    found = load(file)
    keys = {**found.get("keys", {}), credentials.url: credentials.key}
    _write(file, {"default": credentials.url, "keys": keys})
    return file


def forget(url: str | None = None, path: Path | None = None) -> str | None:
    """Take a saved key away, that of the default server unless another is named; return whose it was, None if none."""
    file = path or login_file()
    found = load(file)
    address = normalized(url) if url else found.get("default")
    keys = dict(found.get("keys", {}))
    if address is None or keys.pop(address, None) is None:
        return None
    default = found.get("default") if found.get("default") in keys else next(iter(keys), None)
    _write(file, {"default": default, "keys": keys})
    return str(address)


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(file, json.dumps(content, indent=2))
