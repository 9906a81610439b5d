"""`runflow_security.json` in ComfyUI's folder: the username and the password's hash.

No file: the password is off. A file that cannot be read or understood: nobody gets in, because it might have been on.
Whoever may write into ComfyUI's folder owns this ComfyUI anyway; deleting the file there is the way back in.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..private_file import write_private
from .scrypt import Hash

NAME = "runflow_security.json"
_VERSION = 1
_MOST_BYTES = 64 * 1024
Mark = tuple[int, int, int]


@dataclass(frozen=True)
class Account:
    """Who may use this ComfyUI."""

    username: str
    password: Hash


@dataclass(frozen=True)
class Damaged:
    """The file is there, but what it says is unknown; `reason` is for the log."""

    reason: str


class PasswordFile:
    """The file at one place."""

    def __init__(self, path: Path) -> None:
        """Name the file, which need not be there."""
        self.path = path

    def mark(self) -> Mark | str | None:
        """What changes when the file does: cheap to ask. None without a file, a text where nobody can tell."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 (os.stat is a third of the time, and this is asked often)
        except FileNotFoundError:
            return None
        except OSError as error:
            return str(error)
        return status.st_mtime_ns, status.st_size, status.st_ino

    def read(self) -> Account | Damaged | None:
        """Who may come in; None where there is no file."""
        try:
            with self.path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Damaged(f"it cannot be read: {error.strerror or error}")
        if len(content) > _MOST_BYTES:
            return Damaged("it is far too large")
        try:
            return _account(content)
        except (ValueError, RecursionError) as error:
            return Damaged(str(error))

    def write(self, account: Account) -> None:
        """Replace the file in one step, readable by its owner only. Raises OSError; the old one is unchanged."""
        stored = {"version": _VERSION, "username": account.username, "password": account.password.to_json()}
        write_private(self.path, json.dumps(stored, indent=2).encode() + b"\n")

    def remove(self) -> None:
        """Remove the file, if it is there. Raises OSError."""
        self.path.unlink(missing_ok=True)


def _account(content: bytes) -> Account:
    try:
        stored = json.loads(content)
    except ValueError:
        raise ValueError("it is not JSON") from None
    if not isinstance(stored, dict) or stored.get("version") != _VERSION:
        raise ValueError(f"it is not version {_VERSION} of this file")
    username = stored.get("username")
    if not isinstance(username, str) or not username:
        raise ValueError("it has no username")
    return Account(username, Hash.from_json(stored.get("password")))
