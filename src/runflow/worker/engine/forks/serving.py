"""How a ComfyUI serves its worker: on a socket that it was handed. Stands alone, in the engine's Python.

`python serving.py FD RECORD|- main.py…` boots a ComfyUI like `python main.py…`, in its folder, but for the socket; what
it has imported once it serves is written to the descriptor RECORD (`imported.py`).
"""

import json
import os
import socket
import sys

RESTART_EXIT_CODE = 96
"""Of an engine whose custom node wanted to start ComfyUI anew (`diagnosis.py` names it)."""
_SETTINGS = ("PYTORCH_", "CUDA_", "HIP_", "CUBLAS_", "TORCH_")


def listen_on(descriptor: int, on_start=None) -> None:  # type: ignore[no-untyped-def]
    """Have every site that a ComfyUI opens listen on the socket that the worker made, and no port taken.

    `on_start` is called once, when it serves.
    """
    from aiohttp import web

    listening = socket.socket(fileno=descriptor)

    class GivenSite(web.SockSite):
        def __init__(self, runner, host=None, port=None, **options) -> None:  # type: ignore[no-untyped-def]
            super().__init__(runner, listening)

        async def start(self) -> None:
            nonlocal on_start
            await super().start()
            if on_start is not None:
                told, on_start = on_start, None
                told()

    web.TCPSite = GivenSite  # type: ignore[misc,assignment]


def end_instead_of_exec() -> None:
    """Let a node that starts its ComfyUI anew end it: the worker starts the next one. Its children may exec."""
    engine = os.getpid()

    def ending(execute):  # type: ignore[no-untyped-def]
        def end(*given) -> None:  # type: ignore[no-untyped-def]
            if os.getpid() != engine:
                execute(*given)
            os.write(2, b"A custom node asked for a restart: this engine ends, and the worker starts another one.\n")
            os._exit(RESTART_EXIT_CODE)

        return end

    for name in ("execv", "execve", "execvp", "execvpe", "execl", "execle", "execlp", "execlpe"):
        setattr(os, name, ending(getattr(os, name)))  # type: ignore[no-untyped-call]


def tell_imports(record: int, before: "dict[str, str]") -> None:
    """Write down which modules out of site-packages are here, in the order of import, and what was set for them."""
    names = []
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if spec is not None and f"{os.sep}site-packages{os.sep}" in str(spec.origin) and spec.name == name:
            names.append(name)
    made = {
        name: value for name, value in os.environ.items() if name.startswith(_SETTINGS) and before.get(name) != value
    }
    try:
        os.pwrite(record, json.dumps({"modules": names, "settings": made}).encode(), 0)
    except OSError:
        pass
    os.close(record)


def main(arguments: "list[str]") -> None:
    """Boot the ComfyUI of this folder."""
    import runpy

    before = dict(os.environ)
    record = None if arguments[1] == "-" else int(arguments[1])
    listen_on(int(arguments[0]), None if record is None else lambda: tell_imports(record, before))
    end_instead_of_exec()
    sys.argv = arguments[2:]
    sys.path[0] = os.getcwd()
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
