"""The fork server: imports a ComfyUI with its node packs once, and forks a ready engine out of itself in milliseconds.

Stands alone, in the engine's Python: `python server.py FD SCRIPTS`, in ComfyUI's folder, the rest comes as JSON
messages on the socket FD. It never sees a run or a token, and has a network only where engines are given one; each
child gets its own folders, mounts, processes and user before it serves (`isolation/kernel.py`).

What is imported before the fork is said in `imports.py`.
"""

import json
import os
import select
import signal
import socket
import sys
import traceback
import typing

_SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:] = [
    entry for entry in sys.path if os.path.abspath(entry or ".") != os.path.dirname(os.path.abspath(__file__))
]


def _script(name: str):  # type: ignore[no-untyped-def]
    """Load one of our scripts by its place: a ComfyUI or a pack may have modules of the same name."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"runflow_{name.replace('/', '_')}", f"{_SCRIPTS}/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


kernel = _script("isolation/kernel")
pack_folders = _script("isolation/pack_folders")
seccomp = _script("isolation/seccomp")
serving = _script("forks/serving")
guards = _script("forks/guards")
imports = _script("forks/imports")

_MESSAGE_BYTES = 1024 * 1024
_CANARY_SECONDS = 25
_CUDA_CANARY_SECONDS = 55
_SIDE = 1500
_MOST_COMPLAINTS = 100
"""Of packs or packages: what a message can hold."""


class Server:
    """Answers the worker: one message, one answer; and tells of each child's end."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.children: dict[int, str] = {}
        self.parent: typing.Any = None

    def run(self) -> None:
        """Serve until the worker hangs up."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        watched = select.poll()
        watched.register(self.control, select.POLLIN)
        watched.register(woken, select.POLLIN)
        while True:
            ready = dict(watched.poll())
            if woken in ready:
                try:
                    os.read(woken, 4096)
                except BlockingIOError:
                    pass
                self._tell_of_ends()
            if self.control.fileno() in ready:
                content, descriptors, _, _ = socket.recv_fds(self.control, _MESSAGE_BYTES, 8)
                if not content:
                    os._exit(0)
                self._answer(json.loads(content), descriptors)

    def _answer(self, asked: dict, descriptors: "list[int]") -> None:  # type: ignore[type-arg]
        kind = asked["kind"]
        try:
            if kind == "load":
                self._say(kind, **self._load(asked, descriptors))
            elif kind == "canary":
                self._say(kind, **_canary(cuda=asked["cuda"]))
            elif kind == "fork":
                self._fork(asked, descriptors)
            elif kind == "settle":
                self._say(kind, name=asked["name"], status=_settled(asked))
            elif kind == "kill":
                for process, name in self.children.items():
                    if name == asked["name"]:
                        _end(process)
        except Exception as error:
            traceback.print_exc()
            self._say(kind, name=asked.get("name"), error=str(error) or type(error).__name__)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _load(self, asked: dict, descriptors: "list[int]") -> dict:  # type: ignore[type-arg]
        parent = imports.Parent(asked)
        parent.load(descriptors[0] if descriptors else None)
        self.parent = parent
        told = list(parent.complaints.items())[:_MOST_COMPLAINTS]
        torch = sys.modules.get("torch")
        return {
            "complaints": {name: [words[:200] for words in found[:5]] for name, found in told},
            "cuda": bool(torch is not None and torch.cuda.is_initialized()),
        }

    def _fork(self, asked: dict, descriptors: "list[int]") -> None:  # type: ignore[type-arg]
        assert self.parent is not None
        process = os.fork()
        if process == 0:
            _child(self.parent, asked, descriptors)
        self.children[process] = asked["name"]
        while descriptors:  # before the worker looks whether only the engine has them
            os.close(descriptors.pop())
        self._say("fork", name=asked["name"], process=process)

    def _tell_of_ends(self) -> None:
        while self.children:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                return
            name = self.children.pop(process, None)
            if name is not None:
                self._say("ended", name=name, status=os.waitstatus_to_exitcode(status))

    def _say(self, kind: str, **told) -> None:  # type: ignore[no-untyped-def]
        self.control.send(json.dumps({"kind": kind, **told}).encode())


def _settled(asked: dict) -> int:  # type: ignore[type-arg]
    """Fork a child that ends once it is shut in; return its exit status."""
    process = os.fork()
    if process == 0:
        try:
            signal.set_wakeup_fd(-1)
            kernel.close_others(set())
            _settle(asked)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _end(process: int) -> None:
    """End an engine. The process that we forked only waits for it, and it may have forbidden to die with that one."""
    with open(f"/proc/{process}/task/{process}/children") as file:
        engines = [int(number) for number in file.read().split()]
    for number in engines or [process]:
        os.kill(number, signal.SIGKILL)


def _canary(*, cuda: bool) -> dict:  # type: ignore[type-arg]
    """Compute in a child what would hang there if somebody had computed here before the fork.

    `cuda`: also on the graphics card, if this torch is made for one.
    """
    process = os.fork()
    if process == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.alarm(_CUDA_CANARY_SECONDS if cuda else _CANARY_SECONDS)
            import torch

            square = torch.ones(_SIDE, _SIDE)
            picture = torch.ones(1, 8, 256, 256)
            total = float((square @ square).sum()) + float(
                torch.nn.functional.conv2d(picture, torch.ones(8, 8, 3, 3)).sum()
            )
            if cuda and (torch.version.cuda or torch.version.hip):
                total += float(torch.ones(_SIDE, device="cuda").sum())
            os._exit(0 if total > 0 else 1)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    return {"ok": status == 0}


def _child(parent, asked: dict, descriptors: "list[int]") -> None:  # type: ignore[no-untyped-def,type-arg]
    """Become an engine. Returns never."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        listening, said = descriptors[0], descriptors[1]
        os.dup2(said, 1)
        os.dup2(said, 2)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        kernel.close_others({listening})
        _settle(asked)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _serve(parent, asked, listening)
    except SystemExit as left:
        os._exit(left.code if isinstance(left.code, int) else 1)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _settle(asked: dict) -> None:  # type: ignore[type-arg]
    """Take folders, processes, user and rights of one's own; what others have is gone from here."""
    os.setsid()
    view = asked["view"]
    if view is None:
        return
    kernel.unshare(kernel.OWN | (0 if view["network"] else kernel.NEW_NETWORK))
    kernel.keep_mounts_to_ourselves()
    if not view["network"]:
        kernel.loopback_up()
    for mount in view["mounts"]:
        if mount["kind"] == "bind":
            kernel.bind(mount["source"], mount["at"], writable=mount["writable"])
        elif mount["kind"] == "read_only":
            kernel.make_read_only(mount["at"])
        elif mount["kind"] == "memory":
            kernel.temporary(mount["at"], size_bytes=mount["size_bytes"], mode=mount["mode"])
        elif mount["kind"] == "folder":
            os.makedirs(mount["at"], mode=0o755, exist_ok=True)
            if mount["owner"] is not None:
                os.chown(mount["at"], mount["owner"], mount["owner"])
        else:
            names = pack_folders.make(mount["lower"], mount["upper"], view["owner"])
            kernel.overlay(mount["at"], lower=mount["lower"], upper=mount["upper"], work=mount["work"])
            pack_folders.give_files(mount["written"], mount["at"], names, view["owner"])
    os.chdir("/")
    engine = os.fork()
    if engine != 0:
        kernel.close_others(set())
        _end_with(engine)
    kernel.die_with_parent()
    kernel.processes("/proc")
    kernel.new_keyring()
    kernel.gain_no_more()
    if view["owner"] is not None:
        kernel.become(view["owner"], view["owner"], groups=True)
    kernel.give_up_rights()
    kernel.keep_to_ourselves()
    seccomp.refuse_calls()
    kernel.limit(**view["limits"])
    kernel.die_with_parent()
    os.chdir(view["folder"])


def _end_with(engine: int) -> None:
    """Wait for the first process of the new namespace, and end as it did."""
    kernel.die_with_parent()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _, status = os.waitpid(engine, 0)
    kernel.end_like(status)


def _serve(parent, asked: dict, listening: int) -> None:  # type: ignore[no-untyped-def,type-arg]
    os.environ.update(asked["environment"])
    serving.listen_on(listening)
    serving.end_instead_of_exec()
    _seed_anew()
    if parent.level == 0:
        import runpy

        sys.path.insert(0, os.getcwd())
        runpy.run_path("main.py", run_name="__main__")
        os._exit(0)
    for name, module in list(sys.modules.items()):
        if name.endswith(".process_secret") and hasattr(module, "take"):
            module.take()
    parent.place_database()
    parent.left_for_child.extend(asked["packs"])
    loop, _, start = parent.main.start_comfyui()
    parent.held.release()
    try:
        loop.run_until_complete(start())
    except KeyboardInterrupt:
        pass
    os._exit(0)


def _seed_anew() -> None:
    """Two children must not draw the same random numbers."""
    import random

    random.seed()
    seed = int.from_bytes(os.urandom(4), "little")
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.manual_seed(seed)


def main(arguments: "list[str]") -> None:
    """Serve on the socket that was handed over."""
    control = socket.socket(fileno=int(arguments[0]))
    control.setblocking(True)
    Server(control).run()


if __name__ == "__main__":
    main(sys.argv[1:])
