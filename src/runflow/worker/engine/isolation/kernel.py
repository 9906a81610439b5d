"""What Linux offers to shut a process in, by system call. Stands alone: it runs in the engine's own Python.

Every function raises OSError with the name of what was refused.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import struct

NEW_MOUNTS, NEW_NAMES, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
OWN = NEW_MOUNTS | NEW_NAMES | NEW_IPC | NEW_PROCESSES
"""What every engine has of its own: mounts, host name, System V and POSIX queues, processes."""

_BIND, _RECURSIVE, _PRIVATE, _REMOUNT = 0x1000, 0x4000, 0x40000, 0x20
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC = 0x1, 0x2, 0x4, 0x8
_DETACH = 0x2
_MOUNT_SETATTR = 442
_AT_RECURSIVE = 0x8000
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS = 0x3
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_DEATH_SIGNAL, _DUMPABLE, _BOUNDING_DROP, _SUBREAPER, _NO_NEW_PRIVILEGES, _AMBIENT = 1, 4, 24, 36, 38, 47
_LAST_CAPABILITY = 63
_CAPABILITIES_VERSION = 0x20080522
_MOST_DESCRIPTORS = 1 << 16
_INTERFACE_FLAGS = (0x8913, 0x8914)

_libc = ctypes.CDLL(None, use_errno=True)


def _check(answer: int, what: str) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return answer


def unshare(flags: int) -> None:
    """Give this process namespaces of its own."""
    _check(_libc.unshare(flags), "unshare")


def map_users(process: "int | str", first: int, count: int, *, groups: bool) -> None:
    """Let ids 0 to `count` of a process's new user namespace be `first` and on outside of it."""
    if not groups:
        _write(f"/proc/{process}/setgroups", "deny")
    _write(f"/proc/{process}/uid_map", f"0 {first} {count}")
    if groups:
        _write(f"/proc/{process}/gid_map", f"0 {first} {count}")


def map_group(process: "int | str", gid: int) -> None:
    """Let group 0 of a process's new user namespace be `gid` outside of it."""
    _write(f"/proc/{process}/gid_map", f"0 {gid} 1")


def no_more_user_namespaces() -> None:
    """Let nobody within this user namespace make another: in one of its own a process has every right again."""
    with contextlib.suppress(OSError):  # a container may have /proc/sys read-only
        _write("/proc/sys/user/max_user_namespaces", "0")


def keep_mounts_to_ourselves() -> None:
    """Let nothing that is mounted here reach the namespace that it was copied from."""
    _mount(None, "/", None, _RECURSIVE | _PRIVATE)


def bind(source: str, target: str, *, writable: bool = False, devices: bool = False) -> None:
    """Show a file or folder at another place as well, with all that is mounted below it.

    Linux before 5.12 protects no more than the uppermost of these mounts, so there it is refused.
    """
    _mount(source, target, None, _BIND | _RECURSIVE)
    _protect(target, _NO_SUID | (0 if devices else _NO_DEVICES) | (0 if writable else _READ_ONLY))


def keep_modes(target: str) -> None:
    """Let nobody change the permissions of a device that is mounted here; it can be written to all the same.

    Linux before 5.12 cannot, and is not asked to.
    """
    try:
        _protect(target, _READ_ONLY)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


def _protect(target: str, flags: int) -> None:
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)
    answer = _libc.syscall(
        _MOUNT_SETATTR, -100, os.fsencode(target), _AT_RECURSIVE, attributes, ctypes.c_size_t(len(attributes))
    )
    _check(answer, f"protecting {target} (mount_setattr, Linux 5.12)")


def make_read_only(target: str) -> None:
    """Let nobody write to a file system that was mounted here."""
    _mount(None, target, None, _BIND | _REMOUNT | _READ_ONLY | _NO_SUID | _NO_DEVICES)


def temporary(target: str, *, size_bytes: int, mode: int = 0o755) -> None:
    """Mount an empty file system in memory."""
    _mount("tmpfs", target, "tmpfs", _NO_SUID | _NO_DEVICES, f"size={size_bytes},nr_inodes=200k,mode={mode:o}")


def overlay(target: str, *, lower: "list[str]", upper: str, work: str) -> None:
    """Show folders with everything that is written kept in another one. Raises OSError where that is not allowed."""
    options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
    try:
        _mount("overlay", target, "overlay", _NO_SUID | _NO_DEVICES, f"{options},userxattr")
    except OSError:
        _mount("overlay", target, "overlay", _NO_SUID | _NO_DEVICES, options)


def processes(target: str) -> None:
    """Mount /proc of this process namespace."""
    _mount("proc", target, "proc", _NO_SUID | _NO_DEVICES | _NO_EXEC)


SETTINGS = ("sys", "sysrq-trigger", "irq", "bus")
"""What of /proc is the whole machine's."""


def keep_settings(target: str) -> None:
    """Let nobody write the kernel's settings through a /proc: they are guarded by root's number, not by its rights."""
    for name in SETTINGS:
        place = f"{target}/{name}"
        if os.path.exists(place):
            bind(place, place)


def unmount(target: str) -> None:
    """Take a mount away, though it may be in use."""
    _check(_libc.umount2(os.fsencode(target), _DETACH), f"unmounting {target}")


def change_root(new: str) -> None:
    """Make a folder the root, and the old root unreachable."""
    os.chdir(new)
    _check(_libc.pivot_root(b".", b"."), "pivot_root")
    unmount(".")
    os.chdir("/")


def move_root(new: str, old: str) -> None:
    """Make a folder the root, with the old root at `old`, a folder within it."""
    _check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), "pivot_root")
    os.chdir("/")


def loopback_up() -> None:
    """Let a network of our own reach itself."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        get_flags, set_flags = _INTERFACE_FLAGS
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, get_flags, request), 16)
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sH22x", b"lo", flags | 1))


def die_with_parent() -> None:
    """Have this process killed when the thread that made it ends. To be called after every change of user."""
    _check(_libc.prctl(_DEATH_SIGNAL, 9, 0, 0, 0), "PR_SET_PDEATHSIG")


def become(uid: int, gid: int, *, groups: bool) -> None:
    """Change the user for good. `groups`: also leave the supplementary groups, which needs the right to."""
    if groups:
        os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def gain_no_more() -> None:
    """Let no program that is started have a capability. To be called while the right to say so is still there."""
    for capability in range(_LAST_CAPABILITY + 1):
        if _libc.prctl(_BOUNDING_DROP, capability, 0, 0, 0) != 0:
            break  # the last one that this kernel has


def give_up_rights() -> None:
    """Drop every capability for good."""
    _libc.prctl(_AMBIENT, 4, 0, 0, 0)
    header = struct.pack("Ii", _CAPABILITIES_VERSION, 0)
    _check(_libc.capset(header, bytes(24)), "capset")
    gain_nothing()


def gain_nothing() -> None:
    """Let no program that is started have a right that this process lacks; it keeps those that it has."""
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")


def take_orphans() -> None:
    """Become the parent of whatever processes below this one lose theirs."""
    _check(_libc.prctl(_SUBREAPER, 1, 0, 0, 0), "PR_SET_CHILD_SUBREAPER")


def hide_memory() -> None:
    """Let no process of the same user read or trace this one."""
    _libc.prctl(_DUMPABLE, 0, 0, 0, 0)


def keep_to_ourselves() -> bool:
    """Let signals and abstract sockets reach no process outside (Landlock, Linux 6.12). Tells whether that is so."""
    attributes = struct.pack("QQQ", 0, 0, _SCOPE_ABSTRACT_SOCKETS_AND_SIGNALS)
    ruleset = _libc.syscall(_LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return False
    try:
        return int(_libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def new_keyring() -> None:
    """Leave the keys of whoever started us."""
    number = _KEYCTL.get(os.uname().machine)
    if number is not None:
        _libc.syscall(number, 1, None, 0, 0, 0)


def limit(*, processes_at_most: int, file_bytes: int, memory_bytes: "int | None" = None) -> None:
    """Bound the number of processes and threads of this user, and the size of one file. No core dumps.

    `memory_bytes`: what one process may have for itself; address space that it only reserves does not count.
    """
    for kind, most in (
        (resource.RLIMIT_NPROC, processes_at_most),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        *(() if memory_bytes is None else ((resource.RLIMIT_DATA, memory_bytes),)),
    ):
        _, hard = resource.getrlimit(kind)
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (wanted, wanted))


def end_like(status: int) -> None:
    """End as another process did, for whoever waits for us."""
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGSTOP):  # nobody can change what these do
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
        os._exit(128 + os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def close_others(keep: "set[int]") -> None:
    """Close every descriptor above 2 but these. Not by way of /proc, which may be another process's by now."""
    before = 2
    for number in (*sorted(number for number in keep if number > 2), _MOST_DESCRIPTORS):
        os.closerange(before + 1, number)
        before = number


def _mount(source: "str | None", target: str, kind: "str | None", flags: int, options: "str | None" = None) -> None:
    given = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    answer = _libc.mount(given[0], given[1], given[2], ctypes.c_ulong(flags), given[3])
    _check(answer, f"mounting {source or kind or 'over'} at {target}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
