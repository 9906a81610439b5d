"""How a ComfyUI serves its worker: on a socket that it was handed. Stands alone, in the engine's Python.

`python serving.py FD main.py…` boots a ComfyUI like `python main.py…`, in its folder, but for the socket.
"""

import os
import socket
import sys


def listen_on(descriptor: int) -> None:
    """Have every site that a ComfyUI opens listen on the socket that the worker made, and no port taken."""
    from aiohttp import web

    listening = socket.socket(fileno=descriptor)

    class GivenSite(web.SockSite):
        def __init__(self, runner, host=None, port=None, **options) -> None:  # type: ignore[no-untyped-def]
            super().__init__(runner, listening)

    web.TCPSite = GivenSite  # type: ignore[misc,assignment]


def end_instead_of_exec() -> None:
    """Let a node that starts its ComfyUI anew end it: the worker starts the next one."""

    def end(*_given) -> None:  # type: ignore[no-untyped-def]
        os.write(2, b"A custom node asked for a restart: this engine ends, and the worker starts another one.\n")
        os._exit(0)

    for name in ("execv", "execve", "execvp", "execvpe", "execl", "execle", "execlp", "execlpe"):
        setattr(os, name, end)


def main(arguments: "list[str]") -> None:
    """Boot the ComfyUI of this folder."""
    import runpy

    listen_on(int(arguments[0]))
    end_instead_of_exec()
    sys.argv = arguments[1:]
    sys.path[0] = os.getcwd()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
