"""The confined process's end of what it and the server say to each other.

Messages come on standard input and answers go out on standard output, each behind its size in eight bytes
(`runflow.sandbox.process` is the other end). The first answer is asked by nobody: it says that the process is ready.
"""

import os
import sys
from collections.abc import Iterator

from runflow.sandbox.confine import confine

SIZE_BYTES = 8
"""How long the size before each message is."""


class ServerConnection:
    """What connects a confined process with its server. It may be killed at any time, and ends with its input."""

    def __init__(self, *, memory_bytes: int, file_bytes: int) -> None:
        """Confine this process, before it can read anything that a stranger sent."""
        # What a library or a plug-in prints must not get between the answers.
        self._answers = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        confine(memory_bytes=memory_bytes, file_bytes=file_bytes)

    def messages(self) -> Iterator[bytes]:
        """Yield what the server sends, until it ends."""
        incoming = sys.stdin.buffer
        while len(prefix := incoming.read(SIZE_BYTES)) == SIZE_BYTES:
            size = int.from_bytes(prefix)
            message = incoming.read(size)
            if len(message) < size:
                return  # the server was killed meanwhile
            yield message

    def answer(self, message: bytes) -> None:
        """Send a message to the server."""
        self._answers.write(len(message).to_bytes(SIZE_BYTES) + message)
        self._answers.flush()
