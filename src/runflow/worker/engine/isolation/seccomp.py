"""System calls that no engine needs, refused by a filter in the kernel. Stands alone, in the engine's own Python.

Whoever calls these functions can gain no rights any more (`kernel.give_up_rights`). A filter can look at numbers only,
never at a path: that is what mounts and Landlock are for.
"""

import ctypes
import errno
import os
import struct

_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_LOAD, _IS, _AT_LEAST, _HAS, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_OTHER_NUMBERS = 0x40000000
"""From here on x86_64 counts the calls of x32."""
_NEW_USERS = 0x10000000
_KIND_OF_SOCKET = 0xF
_STREAM, _IN_ORDER = 1, 5
"""Sockets of a pair that reach each other only: SOCK_RAW is one of datagrams, which reach any that has a name."""
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
_REACH_HOSTS = (40, 38, 30, 21, 31)
"""vsock, alg, tipc, rds, bluetooth: families that belong to no network namespace."""
_KIND_OF_CONTROL = 0xFF00
_CONTROLS_OF_FILES = tuple(kind << 8 for kind in (0x66, 0x58, 0x76, 0x72, 0x94, 0xF5))
"""Attributes, versions and seals of files (ext, XFS, FAT, Btrfs, F2FS), which a descriptor to read is enough for."""
_CLONE, _CLONE_RANGE = 0x40049409, 0x4020940D
"""Of these the two that copy, into what is open for writing."""
_SET_LEASE = 1024
_TRUNCATES, _HOW_OPENED, _TO_WRITE, _TO_READ_AND_WRITE = 0x200, 0x3, 1, 2
_OWN = 0
"""Where a call takes the number of a process: the caller's."""
_PRIORITY_OF_PROCESS, _IO_PRIORITY_OF_PROCESS = 0, 1

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS = {
    # name: its number on x86_64, on aarch64; None where there is none
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "io_uring_setup": (425, 425),
    "clone": (56, 220),
    "clone3": (435, 435),
    "unshare": (272, 97),
    "setns": (308, 268),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "open": (2, None),
    "openat": (257, 56),
    "openat2": (437, 437),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "inotify_add_watch": (254, 27),
    "fanotify_init": (300, 262),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}


Steps = list[tuple[int, int, int, int]]
Rules = list[tuple[str, int, Steps]]
"""Of each: a call, the error that it gets, and steps that have to hold for that.

Of a step's jump, -1 leaves the rule (the call is looked at by the next one), and -2 goes to its end (it is refused).
"""


def refuse_calls(*, counted_memory: bool = False) -> None:
    """Refuse what reaches past namespaces: sockets of some families (vsock reaches a virtual machine's host), io_uring,
    which makes any, leases of files, and whatever makes or enters a namespace, for in one of users a process has rights
    again. `counted_memory`: also memory that is no process's own, which no limit of one counts.
    """
    _install([*_sockets(_REACH_HOSTS), *_leases(), *_namespaces(), *(_loose_memory() if counted_memory else ())])


def refuse_what_landlock_lets_through(
    *, network: bool, same_user: bool, truncating: bool, counted_memory: bool = False
) -> None:
    """Refuse more where there is no namespace, and Landlock alone stands before what the machine has.

    It asks nobody at connect() to a Unix socket, and UDP, queues and memory of System V, POSIX queues and keys are none
    of its business. `same_user`: neither are permissions, times and attributes of files, by which an engine of the
    worker's user, or of another engine's, could harm what it cannot open, or may only read: a descriptor to read is
    enough for that. Whoever changes permissions and times is told that it is done. `truncating`: that Landlock does not
    know of emptying a file either (before Linux 6.2). `counted_memory`: as above.

    Raises OSError on a machine whose calls are not known here.
    """
    if os.uname().machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"the system calls of {os.uname().machine} are not known")
    kinds: tuple[int, ...] = (_INET, _INET6, _NETLINK) if network else ()
    rules: Rules = [
        ("socket", errno.EACCES if network else errno.ENETUNREACH, [*_argument(0), *_is_none_of(kinds)]),
        ("socketpair", errno.EACCES, _is_other_than(0, _UNIX)),
        (
            "socketpair",
            errno.EACCES,
            [*_argument(1), (_AND, 0, 0, _KIND_OF_SOCKET), *_is_none_of((_STREAM, _IN_ORDER))],
        ),
        *([] if network else [("connect", errno.ENETUNREACH, [])]),
        *((name, errno.ENOSYS, []) for name in ("shmget", "shmat", "shmctl")),
        *((name, errno.ENOSYS, []) for name in ("semget", "semctl", "semop", "semtimedop")),
        *((name, errno.ENOSYS, []) for name in ("msgget", "msgctl", "msgsnd", "msgrcv", "mq_open", "mq_unlink")),
        *((name, errno.ENOSYS, []) for name in ("add_key", "request_key", "keyctl")),
        ("io_uring_setup", errno.ENOSYS, []),
        # They tell the names of files in folders that it may not list.
        *((name, errno.EACCES, []) for name in ("inotify_add_watch", "fanotify_init")),
        *_leases(),
        *_namespaces(),
    ]
    if same_user:
        rules += [(name, 0, []) for name in ("chmod", "fchmod", "fchmodat", "fchmodat2")]
        rules += [(name, 0, []) for name in ("utime", "utimes", "futimesat", "utimensat")]
        rules += [(name, errno.EPERM, []) for name in ("chown", "lchown", "fchown", "fchownat")]
        rules += [(name, errno.EPERM, []) for name in ("file_setattr", "truncate")]
        rules += [(f"{kind}setxattr", errno.EOPNOTSUPP, []) for kind in ("", "l", "f")]
        rules += [(f"{kind}removexattr", errno.EOPNOTSUPP, []) for kind in ("", "l", "f")]
        rules += [(name, errno.EOPNOTSUPP, []) for name in ("setxattrat", "removexattrat")]
        rules.append(("ioctl", errno.ENOTTY, _controls_files()))
        others = ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
        rules += [(name, errno.EPERM, _is_other_than(0, _OWN)) for name in others]
        rules += [(name, errno.EPERM, _is_other_than(1, _OWN)) for name in ("setpriority", "ioprio_set")]
        rules.append(("setpriority", errno.EPERM, _is_other_than(0, _PRIORITY_OF_PROCESS)))
        rules.append(("ioprio_set", errno.EPERM, _is_other_than(0, _IO_PRIORITY_OF_PROCESS)))
    if same_user and truncating:
        rules += [("open", errno.EACCES, _empties(1)), ("openat", errno.EACCES, _empties(2))]
        rules.append(("openat2", errno.ENOSYS, []))  # its flags are in memory
    _install([*rules, *(_loose_memory() if counted_memory else ())])


def _sockets(families: "tuple[int, ...]") -> Rules:
    refused = [*_argument(0), *_is_one_of(families)]
    return [("io_uring_setup", errno.EAFNOSUPPORT, []), ("socket", errno.EAFNOSUPPORT, refused)]


def _loose_memory() -> Rules:
    """Files without a name in memory, and segments of System V."""
    return [(name, errno.ENOSYS, []) for name in ("memfd_create", "memfd_secret", "shmget")]


def _leases() -> Rules:
    """Whoever opens a file waits until the lease of it is given back, the worker that opens an output, too."""
    return [("fcntl", errno.EACCES, [*_argument(1), *_is(_SET_LEASE)])]


def _namespaces() -> Rules:
    new_users = [*_argument(0), (_HAS, 0, -1, _NEW_USERS)]
    return [
        ("clone", errno.EPERM, new_users),
        ("unshare", errno.EPERM, new_users),
        ("setns", errno.EPERM, []),
        # Its flags are in memory, which a filter cannot read; without it the C library uses clone.
        ("clone3", errno.ENOSYS, []),
    ]


def _argument(index: int) -> Steps:
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * index)]


def _is(value: int) -> Steps:
    return [(_IS, 0, -1, value)]


def _is_one_of(values: "tuple[int, ...]") -> Steps:
    return [*((_IS, -2, 0, value) for value in values[:-1]), (_IS, 0, -1, values[-1])]


def _is_none_of(values: "tuple[int, ...]") -> Steps:
    return [(_IS, -1, 0, value) for value in values]


def _is_other_than(index: int, value: int) -> Steps:
    return [*_argument(index), *_is_none_of((value,))]


def _controls_files() -> Steps:
    copies = [(_IS, -1, 0, _CLONE), (_IS, -1, 0, _CLONE_RANGE)]
    return [*_argument(1), *copies, (_AND, 0, 0, _KIND_OF_CONTROL), *_is_one_of(_CONTROLS_OF_FILES)]


def _empties(index: int) -> Steps:
    """Flags that empty a file which is not opened to write: for that Landlock is asked."""
    writes = _is_none_of((_TO_WRITE, _TO_READ_AND_WRITE))
    return [*_argument(index), (_HAS, 0, -1, _TRUNCATES), (_AND, 0, 0, _HOW_OPENED), *writes]


def _install(rules: Rules) -> None:
    machine = os.uname().machine
    architecture = _ARCHITECTURES.get(machine)
    if architecture is None:
        return
    program = [
        # Calls by the numbers of another architecture would pass by every rule below, so there are none.
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IS, 1, 0, architecture),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _OTHER_NUMBERS),
        (_RETURN, 0, 0, _ERROR | errno.ENOSYS),
    ]
    for name, error, steps in rules:
        number = _CALLS[name][0 if machine == "x86_64" else 1]
        if number is not None:
            program += _rule(number, error, steps)
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code, len(code))
    filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(held)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_SECCOMP, _MODE_FILTER, filter_, 0, 0) != 0:
        reason = ctypes.get_errno()
        raise OSError(reason, f"PR_SET_SECCOMP: {os.strerror(reason)}")


def _rule(number: int, error: int, steps: Steps) -> Steps:
    whole = [(_LOAD, 0, 0, _NUMBER), (_IS, 0, -1, number), *steps]
    end = len(whole)

    def distance(jump: int, place: int) -> int:
        return jump if jump >= 0 else end - place - (0 if jump == -1 else 1)

    found = [(code, distance(so, place), distance(not_, place), k) for place, (code, so, not_, k) in enumerate(whole)]
    return [*found, (_RETURN, 0, 0, _ERROR | error)]
