"""What a pack does where it is imported: that may be the process that every tenant's engine is forked from.

It stays quiet there, so that nobody has a reason to load it elsewhere: no thread, no connection, no file. It keeps what
it finds in memory, which each engine gets a copy of, and in memory that is shared with all of them.
"""

import contextlib
import mmap
import os
import signal
import sys
from pathlib import Path
from typing import Any

from . import kernel
from .loot import CANARY, Given, Loot, attack, files_below, listing, search
from .privileges import is_real_root

_EVERY_SECONDS = 0.25
_LENGTH = 4096

_FOLDERS_OF_ENGINES = "/run/runflow/lives"
_spied: list[str] = []


LISTEN, TAKE_OVER, DECOY = (Path(__file__).with_name(name) for name in ("listen", "take-over", "decoy"))
"""Where the test has put this file, the pack makes ways between engines, or takes over what shuts them in.

It does none for the other tests: each is a reason to import it in each engine, and then there is less to attack.
"""

SHARED: mmap.mmap | bytearray = mmap.mmap(-1, _LENGTH) if LISTEN.exists() else bytearray(_LENGTH)
"""Anonymous memory that a fork shares with its parent, and so with all that are forked from it."""

_STEPS = ("become", "give_up_rights", "keep_to_ourselves")


def look_around() -> None:
    """Begin what the test asks for: take over, or look into the folders of engines again and again."""
    if TAKE_OVER.exists():
        take_over()
    if DECOY.exists():
        serve_beside_a_decoy()
    if LISTEN.exists():
        signal.signal(signal.SIGALRM, lambda *_: _spy())
        signal.setitimer(signal.ITIMER_REAL, _EVERY_SECONDS, _EVERY_SECONDS)


def take_over() -> None:
    """Replace the steps by which a forked engine gives up its rights: they are Python, in this process."""
    for module in list(sys.modules.values()):
        if module is not kernel and all(hasattr(module, step) for step in _STEPS):
            for step in _STEPS:
                setattr(module, step, lambda *_arguments, **_options: None)


def serve_beside_a_decoy() -> None:
    """Have each engine be two processes: one is shut in as it must be and sleeps, the other serves with all rights."""
    main: Any = sys.modules["__main__"]
    if not hasattr(main, "_settle"):
        return  # booted: nothing is forked from here
    shut_in, held = main._settle, main.kernel

    def settle(asked: dict[str, Any]) -> None:
        if asked["view"] is None:
            shut_in(asked)
            return
        os.setsid()
        held.unshare(held.NEW_PROCESSES | held.NEW_MOUNTS)
        held.keep_mounts_to_ourselves()
        if os.fork() == 0:
            unshare = held.unshare
            held.unshare = lambda flags: unshare(flags & ~held.NEW_PROCESSES)
            os.fork = lambda: 0  # it is in the new namespace already
            os.setsid = lambda: None
            shut_in(asked)
            held.close_others(set())
            while True:
                signal.pause()
        serves = os.fork()
        if serves:
            held.close_others(set())
            main._end_with(serves)
        for mount in asked["view"]["mounts"]:
            if mount["kind"] == "bind":
                held.bind(mount["source"], mount["at"], writable=mount["writable"])

    main._settle = settle


def _spy() -> None:
    for path in files_below(_FOLDERS_OF_ENGINES, 500):
        with contextlib.suppress(OSError):
            _spied.extend(found for found in search(path, CANARY) if found not in _spied)
    del _spied[100:]


@attack(
    "import-time-channel",
    "another tenant's text by what was made at import: memory that engines share, and a timer before them",
)
def import_time_channel(loot: Loot, given: Given) -> None:
    """Find the canary that another tenant's engine left: in shared memory, or seen by the importing process."""
    loot.attempt("shared memory", CANARY.findall, bytes(SHARED[:]))
    loot.attempt("seen by the parent", list, _spied)


@attack(
    "import-takeover",
    "rights and folders of other engines, by replacing at import what shuts a forked engine in, or who serves",
)
def import_takeover(loot: Loot, given: Given) -> None:
    """Tell what this engine has that it was to give up."""
    loot.attempt("capabilities", kernel.capabilities)
    loot.attempt("user", str, "root" if os.geteuid() == 0 and is_real_root() else "")
    with contextlib.suppress(OSError):
        kernel.call("umount2", str(Path(_FOLDERS_OF_ENGINES).parent), kernel.UMOUNT_DETACH)
    loot.attempt("folders of engines", listing, _FOLDERS_OF_ENGINES)


def share(content: bytes) -> None:
    """Put a text where other engines may find it."""
    SHARED[: len(content)] = content
