"""What must hold of a process that others are forked from, and who broke it. Stands alone, in the engine's Python.

A fork has one thread and shares every open file: threads that a node pack started at import are dead in the child, and
a connection, a device or a lock that it opened belongs to two. The rules come from loading 31 popular packs
(docs/operations.md, "Forked engines").
"""

import contextlib
import os
import signal
import sys
import threading
import time

QUIET_THREADS = ("polars-", "jemalloc_bg_thd", "onnxruntime")
"""Native threads of libraries that are known to survive a fork."""
_KEPT_FROM_CHILDREN = ("OMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "VECLIB_", "LD_", "DYLD_", "CUDA_VISIBLE")
"""Settings that a pack makes for itself, and that would hold for every program of every engine."""
_THREAD_SECONDS = 5.0
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_INSTALLERS = ("pip", "uv", "conda", "mamba", "poetry")


class HeldThreads:
    """Threads that node packs start at import: started when the child runs, for in the parent they would be lost."""

    def __init__(self) -> None:
        self.roots: tuple[str, ...] = ()
        self._held: list[threading.Thread] = []
        self._start, self._join = threading.Thread.start, threading.Thread.join

    def hold(self) -> None:
        """Begin to hold them back."""
        held, start, join, this = self._held, self._start, self._join, self

        def start_later(thread: threading.Thread) -> None:
            if sys._getframe(1).f_code.co_filename.startswith(this.roots):
                held.append(thread)
            else:
                start(thread)

        def start_and_join(thread: threading.Thread, timeout: "float | None" = None) -> None:
            if thread in held:
                held.remove(thread)
                start(thread)
            join(thread, timeout)

        threading.Thread.start = start_later  # type: ignore[method-assign,assignment]
        threading.Thread.join = start_and_join  # type: ignore[method-assign,assignment]

    def release(self) -> None:
        """Start what was held back, and hold no more."""
        threading.Thread.start, threading.Thread.join = self._start, self._join  # type: ignore[method-assign]
        for thread in self._held:
            self._start(thread)
        self._held.clear()


class Watch:
    """Compares the process with what it was, and says what came of a step."""

    def __init__(self) -> None:
        self._before = _look()

    def what_came(self) -> "list[str]":
        """Return what the step left that a fork does not survive, in words; the next step is compared from here."""
        now, before = _look(), self._before
        self._before = now
        found = [f"a thread that runs ({name})" for name in sorted(now["threads"] - before["threads"])]
        for name, count in now["native"].items():
            is_quiet = name.startswith(QUIET_THREADS) or name == now["own_name"]
            if not is_quiet and count > before["native"].get(name, 0):
                found.append(f"a thread of a library ({name})")
        found += [f"a process that runs ({name})" for name in sorted(now["children"] - before["children"])]
        found += [f"an open {name}" for name in sorted(now["open"] - before["open"])]
        if now["shared"] > before["shared"]:
            found.append("memory that every engine would share")
        if now["timers"] and not before["timers"]:
            found.append("a timer that interrupts")
        if now["cuda"] and not before["cuda"]:
            found.append("a CUDA context")
        if before["computing"] is not None and now["computing"] != before["computing"]:
            found.append("another number of threads to compute with")
        return found


def unfit() -> "str | None":
    """Return what keeps this process from being forked at all, however it came; None where it may be."""
    until = time.monotonic() + _THREAD_SECONDS
    while len(threading.enumerate()) > 1 and time.monotonic() < until:
        time.sleep(0.01)  # those of an executor that was shut down are about to end
    if len(threading.enumerate()) > 1:
        return f"a thread that runs ({threading.enumerate()[-1].name})"
    seen = _look()
    if seen["cuda"]:
        return "a CUDA context"
    devices = sorted(name for name in seen["open"] if name.startswith("device"))
    return f"an open {devices[0]}" if devices else None


class Environment:
    """Remembers the settings that are to hold for engines, whatever a pack changes for itself."""

    def __init__(self) -> None:
        self._before = {name: value for name, value in os.environ.items() if name.startswith(_KEPT_FROM_CHILDREN)}

    def restore(self) -> None:
        """Put them back."""
        for name in [name for name in os.environ if name.startswith(_KEPT_FROM_CHILDREN)]:
            if name not in self._before:
                del os.environ[name]
        os.environ.update(self._before)


def refuse_installers(say) -> None:  # type: ignore[no-untyped-def]
    """Let programs that install packages fail at once while packs are imported; `say` is told of each."""
    import subprocess

    class GuardedPopen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args, *more, **options) -> None:  # type: ignore[no-untyped-def]
            words = args.split() if isinstance(args, str) else [os.fsdecode(word) for word in args]
            names = {os.path.basename(word) for word in words[:4]}
            if names & set(_INSTALLERS) and "install" in words:
                say("asked to install packages: " + " ".join(words)[:200])
                args, options = ["false"], {**options, "shell": False}
            super().__init__(args, *more, **options)

    subprocess.Popen = GuardedPopen  # type: ignore[misc]


def allow_installers() -> None:
    """Take `refuse_installers` back: an engine has no network where it is not to install anything."""
    import subprocess

    subprocess.Popen = subprocess.Popen.__mro__[1]  # type: ignore[misc,assignment]


def _look() -> "dict":  # type: ignore[type-arg]
    threads = {
        f"{thread.name}#{thread.ident}" for thread in threading.enumerate() if thread is not threading.main_thread()
    }
    native: dict[str, int] = {}
    own = _text("/proc/self/comm")
    for task in os.listdir("/proc/self/task"):
        name = _text(f"/proc/self/task/{task}/comm")
        native[name] = native.get(name, 0) + 1
    torch = sys.modules.get("torch")
    return {
        "threads": threads,
        "native": native,
        "own_name": own,
        "children": _children(),
        "open": _open_things(),
        "shared": _shared_memory(),
        "timers": any(signal.getitimer(which)[0] for which in _TIMERS),
        "cuda": bool(torch is not None and torch.cuda.is_initialized()),
        # While torch is imported it may not have it yet.
        "computing": torch.get_num_threads() if torch is not None and hasattr(torch, "get_num_threads") else None,
    }


def _shared_memory() -> int:
    """Count the writable mappings that a fork does not copy."""
    with open("/proc/self/maps") as file:
        return sum(1 for line in file if line.split()[1].startswith("rw") and line.split()[1].endswith("s"))


def _children() -> "set[str]":
    found = set()
    for task in os.listdir("/proc/self/task"):
        for child in _text(f"/proc/self/task/{task}/children").split():
            found.add(f"{child} {_text(f'/proc/{child}/comm')}")
    return found


def _open_things() -> "set[str]":
    """Sockets and devices; a file that is open for reading harms nobody."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:"):
                found.add(f"connection ({target})")
            elif target.startswith(("/dev/nvidia", "/dev/dri", "/dev/kfd", "/dev/dxg")):
                found.add(f"device ({target})")
    return found


def _text(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
