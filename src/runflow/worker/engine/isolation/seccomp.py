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
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _HALF = 0, 4, 16, 4
_OTHER_NUMBERS = 0x40000000
"""From here on x86_64 counts the calls of x32."""
_NEW_USERS = 0x10000000
_KIND_OF_SOCKET = 0xF
_DATAGRAM = 2
_INET, _INET6, _NETLINK = 2, 10, 16
_REACH_HOSTS = (40, 38, 30, 21, 31)
"""vsock, alg, tipc, rds, bluetooth: families that belong to no network namespace."""

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
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
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


def refuse_calls() -> None:
    """Refuse what reaches past namespaces: sockets of some families (vsock reaches a virtual machine's host), io_uring,
    which makes any, and whatever makes or enters a namespace, for in one of users a process has rights again.
    """
    _install([*_sockets(_REACH_HOSTS), *_namespaces()])


def refuse_what_landlock_lets_through(*, network: bool, same_user: bool) -> None:
    """Refuse more where there is no namespace, and Landlock alone stands before what the machine has.

    It asks nobody at connect() to a Unix socket, and UDP, queues and memory of System V, POSIX queues and keys are none
    of its business. `same_user`: neither are permissions, times and attributes of files, by which an engine of the
    worker's user could harm what it cannot open. Whoever changes these by path is told that it is done.

    Raises OSError on a machine whose calls are not known here.
    """
    if os.uname().machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"the system calls of {os.uname().machine} are not known")
    kinds: tuple[int, ...] = (_INET, _INET6, _NETLINK) if network else ()
    rules: Rules = [
        ("socket", errno.EACCES if network else errno.ENETUNREACH, [*_argument(0), *_is_none_of(kinds)]),
        ("socketpair", errno.EACCES, [*_argument(1), (_AND, 0, 0, _KIND_OF_SOCKET), *_is(_DATAGRAM)]),
        *([] if network else [("connect", errno.ENETUNREACH, [])]),
        *((name, errno.ENOSYS, []) for name in ("shmget", "shmat", "semget", "semop", "semtimedop")),
        *((name, errno.ENOSYS, []) for name in ("msgget", "msgsnd", "msgrcv", "mq_open", "mq_unlink")),
        *((name, errno.ENOSYS, []) for name in ("add_key", "request_key", "keyctl")),
        ("io_uring_setup", errno.ENOSYS, []),
        *_namespaces(),
    ]
    if same_user:
        rules += [(name, 0, []) for name in ("chmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat")]
        rules.append(("utimensat", 0, _is_given(1)))
        rules += [(name, errno.EPERM, []) for name in ("chown", "lchown", "fchownat", "file_setattr", "truncate")]
        rules += [(name, errno.EOPNOTSUPP, []) for name in ("setxattr", "lsetxattr", "setxattrat")]
        rules += [(name, errno.EOPNOTSUPP, []) for name in ("removexattr", "lremovexattr", "removexattrat")]
        rules += [(name, errno.EACCES, []) for name in ("inotify_add_watch", "fanotify_init")]
        others = ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr")
        rules += [(name, errno.EPERM, _is_other_than_none(0)) for name in others]
        rules += [(name, errno.EPERM, _is_other_than_none(1)) for name in ("setpriority", "ioprio_set")]
    _install(rules)


def _sockets(families: "tuple[int, ...]") -> Rules:
    refused = [*_argument(0), *_is_one_of(families)]
    return [("io_uring_setup", errno.EAFNOSUPPORT, []), ("socket", errno.EAFNOSUPPORT, refused)]


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


def _is_other_than_none(index: int) -> Steps:
    """The number of a process, which is 0 for the caller's own."""
    return [*_argument(index), (_IS, -1, 0, 0)]


def _is_given(index: int) -> Steps:
    """A pointer: both halves of it are looked at."""
    place = _FIRST_ARGUMENT + 8 * index
    return [(_LOAD, 0, 0, place), (_IS, 0, -2, 0), (_LOAD, 0, 0, place + _HALF), (_IS, -1, 0, 0)]


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
