"""The socket on which an engine serves its worker, and nobody else."""

import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

_LONGEST_PATH = 90
"""Of what a Unix socket's path may have, on every system."""


class ListeningSocket:
    """A Unix socket that an engine is handed to serve on, in a folder that only the worker can enter."""

    def __init__(self, folder: Path) -> None:
        place = folder / secrets.token_hex(4)
        self._made: Path | None = None
        if len(os.fsencode(place)) > _LONGEST_PATH:
            self._made = Path(tempfile.mkdtemp(prefix="runflow-"))
            place = self._made / "engine"
        else:
            folder.mkdir(mode=0o700, exist_ok=True)
        self.path = place
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(place))
        self._socket.listen(128)
        self._socket.setblocking(False)
        os.set_inheritable(self._socket.fileno(), True)

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._socket.fileno()

    def hand_over(self) -> None:
        """Close our end of it, once the engine has its own: connections to an engine that is gone are refused then."""
        self._socket.close()

    def close(self) -> None:
        """Take it away."""
        self._socket.close()
        self.path.unlink(missing_ok=True)
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)
