"""System calls that Python's library lacks. Each raises OSError with the kernel's reason."""

import ctypes
import os
import platform
import struct
from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

_NUMBERS = {
    "x86_64": {"keyctl": 250, "add_key": 248, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "mount": 165},
    "aarch64": {"keyctl": 219, "add_key": 217, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "mount": 40},
}
_EVERYWHERE = {
    "pidfd_open": 434,
    "pidfd_send_signal": 424,
    "pidfd_getfd": 438,
    "open_tree": 428,
    "fsopen": 430,
    "mount_setattr": 442,
}

PTRACE_SEIZE = 0x4206
RENAME_EXCHANGE = 2
MS_REMOUNT, MS_BIND, MS_PRIVATE, MS_REC = 32, 4096, 1 << 18, 16384
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID = 0x20000, 0x10000000, 0x40000000, 0x20000000
UMOUNT_DETACH = 2


def call(name: str, *arguments: object) -> int:
    """Call a function of the C library."""
    function = getattr(_LIBC, name)
    function.restype = ctypes.c_long if name in ("shmat", "process_vm_readv", "mq_receive", "ptrace") else ctypes.c_int
    return _checked(function(*(_argument(one) for one in arguments)), name)


def syscall(name: str, *arguments: object) -> int:
    """Call the kernel by the number of a system call."""
    number = _EVERYWHERE.get(name) or _NUMBERS[platform.machine()][name]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *(_argument(one) for one in arguments)), name)


def exchange(one: str, other: str) -> None:
    """Swap two paths at once, whatever they are."""
    call("renameat2", -100, one, -100, other, RENAME_EXCHANGE)


def read_memory(pid: int, address: int, length: int) -> bytes:
    """Read another process's memory by process_vm_readv."""
    buffer = ctypes.create_string_buffer(length)
    local = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), length)
    remote = (ctypes.c_void_p * 2)(address, length)
    count = call("process_vm_readv", pid, ctypes.addressof(local), 1, ctypes.addressof(remote), 1, 0)
    return buffer.raw[:count]


def seize(pid: int) -> str:
    """Attach to a process as a debugger without stopping it. The end of the child that does it lets go of it."""
    in_a_child(call, "ptrace", PTRACE_SEIZE, pid, 0, 0)
    return f"attached to {pid}"


def in_a_child(act: Callable[..., object], *arguments: object) -> None:
    """Do something in a forked child, so that this process stays as it is. Raises OSError with what refused it."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            act(*arguments)
        except OSError as error:
            code = error.errno or 255
        except BaseException:
            code = 255
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code) if code > 0 else f"killed by signal {-code}")


def capabilities() -> str:
    """Return the capabilities that this process has or could get, none for no capability."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    held = {name: lines[name].strip() for name in ("CapEff", "CapPrm", "CapInh", "CapAmb") if int(lines[name], 16)}
    return ", ".join(f"{name}={value}" for name, value in held.items())


def add_key(kind: str, description: str, content: bytes, ring: int) -> int:
    """Put a key into one of the kernel's key rings (-3: session, -4: user)."""
    return syscall("add_key", kind, description, content, len(content), ring)


def read_key(kind: str, description: str, ring: int) -> bytes:
    """Find a key in a ring and read it."""
    key = syscall("keyctl", 10, ring, kind, description, 0)
    buffer = ctypes.create_string_buffer(256)
    return buffer.raw[: syscall("keyctl", 11, key, ctypes.addressof(buffer), 256)]


def make_segment(key: int, content: bytes) -> str:
    """Leave a piece of shared memory (System V) behind, open to everybody."""
    segment = call("shmget", key, 4096, 0o1666)
    address = call("shmat", segment, 0, 0)
    ctypes.memmove(address, content, len(content))
    return f"segment {segment}"


def read_segment(key: int) -> bytes:
    """Read a piece of shared memory that somebody left."""
    segment = call("shmget", key, 0, 0)
    return ctypes.string_at(call("shmat", segment, 0, 0o10000), 256)


def send_queue(name: str, content: bytes) -> str:
    """Leave a message in a POSIX queue."""
    attributes = struct.pack("8l", 0, 4, 128, 0, 0, 0, 0, 0)
    descriptor = call("mq_open", name, os.O_CREAT | os.O_RDWR | os.O_NONBLOCK, 0o666, attributes)
    call("mq_send", descriptor, content, len(content), 0)
    return name


def receive_queue(name: str) -> bytes:
    """Take a message out of a POSIX queue that somebody made."""
    descriptor = call("mq_open", name, os.O_RDONLY | os.O_NONBLOCK)
    buffer = ctypes.create_string_buffer(8192)
    return buffer.raw[: call("mq_receive", descriptor, ctypes.addressof(buffer), 8192, 0)]


def _argument(value: object) -> object:
    if isinstance(value, str):
        return ctypes.c_char_p(value.encode())
    if isinstance(value, bytes):
        return ctypes.c_char_p(value)
    return ctypes.c_long(int(str(value)))


def _checked(result: int, name: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)
