"""Which files a process may open, by rules that it lays upon itself. Stands alone: it runs in the engine's own Python.

Landlock (Linux 5.13) needs no right and no namespace, so it works in containers that forbid both. Its rules belong to
files and folders themselves, not to their names, and whatever has none is closed: a rule on /proc would be one on every
process. It says nothing about looking at a file's state, nor about permissions, times and attributes (`seccomp.py`).
"""

import contextlib
import ctypes
import os
import stat
import struct

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
_BENEATH = 1

_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE = 1 << 4 | 1 << 5
_MAKE_DEVICE = 1 << 6 | 1 << 11
_MAKE = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12
_REFER, _TRUNCATE, _CONTROL = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE | _READ | _TRUNCATE | _CONTROL
_FIRST = _EXECUTE | _WRITE | _READ | _LIST | _REMOVE | _MAKE_DEVICE | _MAKE
_TCP = 0x3
_SIGNALS_AND_ABSTRACT_SOCKETS = 0x3
TRUNCATING_SINCE, _TCP_SINCE, SIGNALS_SINCE = 3, 4, 6
"""The version of the interface that knows of emptying files, that of TCP, that of signals (Linux 6.2, 6.7, 6.12)."""
_LATER = ((2, _REFER), (TRUNCATING_SINCE, _TRUNCATE), (5, _CONTROL))

RIGHTS = {
    "list": _LIST,
    "look": _READ | _LIST,
    "read": _EXECUTE | _READ | _LIST,
    "write": _EXECUTE | _READ | _LIST | _WRITE | _REMOVE | _MAKE | _REFER | _TRUNCATE,
    "device": _READ | _LIST | _WRITE | _TRUNCATE | _CONTROL,
}
"""What a rule allows at a path and, where that is a folder, below it."""

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Return the version of the kernel's interface, 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION)))


def opened(path: str) -> "int | None":
    """Return a descriptor that names what lies at a path, None where that cannot be reached."""
    with contextlib.suppress(OSError):
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    return None


def ruleset(rules: "list[tuple[int, str]]", *, network: bool) -> int:
    """Return a descriptor of rules: what may be done with what each descriptor names. Raises OSError."""
    known = version()
    files = _FIRST
    for since, right in _LATER:
        files |= right if known >= since else 0
    fields = [files]
    if known >= _TCP_SINCE:
        fields.append(0 if network else _TCP)
    if known >= SIGNALS_SINCE:
        fields.append(_SIGNALS_AND_ABSTRACT_SOCKETS)
    attributes = struct.pack(f"{len(fields)}Q", *fields)
    made = _check(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "Landlock")
    for descriptor, kind in rules:
        allowed = RIGHTS[kind] & files
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            allowed &= _OF_FILES
        if allowed:
            rule = struct.pack("=Qi", allowed, descriptor)
            _check(_libc.syscall(_ADD, made, _BENEATH, rule, 0), "a rule of Landlock")
    return made


def keep_signals() -> bool:
    """Let signals of this process, and of all that it will start, reach nobody else. Tells whether that is so.

    Every layer of rules refuses to move files from folder to folder unless it says otherwise, so this one does.
    """
    if version() < SIGNALS_SINCE:
        return False
    attributes = struct.pack("3Q", _REFER, 0, _SIGNALS_AND_ABSTRACT_SOCKETS)
    made = _check(_libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "Landlock")
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    _check(_libc.syscall(_ADD, made, _BENEATH, struct.pack("=Qi", _REFER, root), 0), "a rule of Landlock")
    os.close(root)
    restrict(made)
    return True


def restrict(made: int) -> None:
    """Lay rules upon this process and all that it will start, for good. Raises OSError."""
    _check(_libc.syscall(_RESTRICT, made, 0), "laying Landlock's rules upon the engine")
    os.close(made)


def _check(answer: int, what: str) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return answer
