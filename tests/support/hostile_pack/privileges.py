"""Attacks on the walls themselves: becoming root, taking them down, going through a device."""

import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from . import kernel
from .loot import Given, Loot, apart, attack, engine_folders, opens_to_write

_KERNEL_FILES = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/cgroup.procs",
)
_DEVICES = (
    "/dev/mem",
    "/dev/kmsg",
    "/dev/vda",
    "/dev/sda",
    "/dev/nvme0n1",
    "/dev/fuse",
    "/dev/kvm",
    "/dev/loop-control",
)


@attack("become-root", "`setuid`, `setgid`, the groups of root, a setuid file of its own, capabilities that are left")
def become_root(loot: Loot, given: Given) -> None:
    """Be root, or get there."""
    loot.attempt("user id", str, "root" if os.geteuid() == 0 and is_real_root() else "")
    loot.attempt("setresuid", _as_root, os.setresuid, 0, 0, 0)
    loot.attempt("setgid", _as_root, os.setresgid, 0, 0, 0)
    loot.attempt("setgroups", _as_root, os.setgroups, [0])
    loot.attempt("capabilities", kernel.capabilities)
    loot.attempt("new privileges", _may_get_privileges)
    copy = Path(engine_folders()["tmp"]) / "root-shell"

    def setuid_file() -> str:
        shutil.copy("/bin/sh", copy)
        os.chown(copy, 0, 0)
        copy.chmod(0o4755)
        return "made a setuid program of root" if is_real_root() else ""

    loot.attempt("setuid file", setuid_file)
    copy.unlink(missing_ok=True)


@attack("new-user-namespace", "a user namespace of its own, for capabilities and mounts inside it")
def new_user_namespace(loot: Loot, given: Given) -> None:
    """Get capabilities back in a namespace, which opens much of the kernel, and mounts."""

    def unshare() -> None:
        kernel.call("unshare", kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
        kernel.call("mount", "tmpfs", "/tmp", "tmpfs", 0, 0)

    loot.attempt("unshare", kernel.in_a_child, unshare)
    loot.attempt("unshare only", kernel.in_a_child, kernel.call, "unshare", kernel.CLONE_NEWUSER)


@attack("mounts", "unmounting or remounting what hides and protects files, and joining another process's namespaces")
def mounts(loot: Loot, given: Given) -> None:
    """Take away what is mounted over the rest, or make it writable."""
    if not apart("mnt", given):
        loot.got["namespace"] = "it has the worker's own mounts"
        return
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted(points, key=len, reverse=True)[:60]:
        loot.attempt(
            f"umount {point}",
            kernel.in_a_child,
            kernel.call,
            "umount2",
            point,
            kernel.UMOUNT_DETACH,
        )
        loot.attempt(
            f"remount {point}",
            kernel.in_a_child,
            kernel.call,
            "mount",
            0,
            point,
            0,
            kernel.MS_REMOUNT | kernel.MS_BIND,
            0,
        )
    base = engine_folders()["base"]
    loot.attempt("bind", kernel.in_a_child, kernel.call, "mount", "/", base, 0, kernel.MS_BIND, 0)
    loot.attempt("proc", kernel.in_a_child, kernel.call, "mount", "proc", base, "proc", 0, 0)
    loot.attempt("pivot", kernel.in_a_child, os.chroot, "/proc/1/root")
    loot.attempt("fsopen", kernel.syscall, "fsopen", "tmpfs", 0)
    for kind in ("mnt", "pid", "net", "user"):
        for pid in ("1", str(given["worker_pid"])):
            path = f"/proc/{pid}/ns/{kind}"
            loot.attempt(f"setns {path}", _joins, path)


@attack(
    "outside-root", "the machine's own root folder through `/proc/1/root`, `/proc/*/cwd`, `..` and open descriptors"
)
def outside_root(loot: Loot, given: Given) -> None:
    """Find a way to a file that exists outside only: the decoy's."""
    path = str(given["decoy_file"])
    ways = [path, f"/proc/1/root{path}", f"/proc/self/root{path}", f"/proc/1/cwd/{path}", "/" + "../" * 20 + path]
    ways += [f"/proc/{given[name]}/{way}{path}" for name in ("worker_pid", "server_pid") for way in ("root", "cwd")]
    for way in ways:
        loot.attempt(way.replace(path, "/decoy"), Path(way).read_text)

    def by_descriptors() -> str:
        for name in os.listdir("/proc/self/fd"):
            try:
                if stat.S_ISDIR(os.fstat(int(name)).st_mode):
                    descriptor = os.open("../" * 20 + path.lstrip("/"), os.O_RDONLY, dir_fd=int(name))
                    os.close(descriptor)
                    return f"through descriptor {name}"
            except OSError:
                continue
        return ""

    loot.attempt("open folders", by_descriptors)


@attack("interpreter-overwrite", "writing the program that it runs, by `/proc/self/exe` and `/proc/1/exe`")
def interpreter_overwrite(loot: Loot, given: Given) -> None:
    """Open the running programs for writing; nothing is written."""
    for path in ("/proc/self/exe", "/proc/1/exe", os.path.realpath(sys.executable), os.__file__):
        loot.attempt(path, opens_to_write, path)


@attack("devices", "`mknod`, and the devices below `/dev` that lead to memory and disks")
def devices(loot: Loot, given: Given) -> None:
    """Make or open a device. Nothing is read of it or written to it."""
    tmp = engine_folders()["tmp"]
    for name, number in (("disk", os.makedev(254, 0)), ("disk2", os.makedev(8, 0)), ("memory", os.makedev(1, 1))):
        kind = stat.S_IFCHR if name == "memory" else stat.S_IFBLK
        loot.attempt(f"mknod {name}", _make, f"{tmp}/{name}", kind, number)
    for path in _DEVICES:
        loot.attempt(path, _opens, path)


@attack("kernel-settings", "files of `/proc/sys`, `/sys` and the control groups that rule the whole machine")
def kernel_settings(loot: Loot, given: Given) -> None:
    """Open for writing what the kernel does on behalf of root; nothing is written."""
    for path in _KERNEL_FILES:
        loot.attempt(path, opens_to_write, path)


@attack(
    "kernel-interfaces",
    "`bpf`, opening files by handle, another root folder, and the host name",
)
def kernel_interfaces(loot: Loot, given: Given) -> None:
    """Use what only root should be able to use."""
    program = b"\0" * 128
    loot.attempt("bpf", kernel.syscall, "bpf", 5, program, 128)
    loot.attempt("open_by_handle", _opens_by_handle)
    loot.attempt("chroot", kernel.in_a_child, os.chroot, "/")
    loot.attempt("host name", _names_the_machine, given)


def is_real_root() -> bool:
    """Tell whether the user id 0 is the machine's, and no other of a user namespace."""
    try:
        first = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return True
    return first[:2] == ["0", "0"]


def _may_get_privileges() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = [line.split()[1] for line in lines if line.startswith("NoNewPrivs:")]
    return "" if found == ["1"] else "NoNewPrivs is 0: a setuid program would give it more"


def _as_root(act: Callable[..., object], *arguments: object) -> str:
    """Do what only root may; the root of a user namespace that holds nothing is none."""
    kernel.in_a_child(act, *arguments)
    return "as root" if is_real_root() else ""


def _make(path: str, kind: int, number: int) -> str:
    os.mknod(path, kind | 0o666, number)
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    finally:
        Path(path).unlink()
    return f"made and opened a device {os.major(number)}:{os.minor(number)}"


def _joins(path: str) -> str:
    """Join another process's namespace, if it is another one."""

    def join() -> None:
        kernel.call("setns", os.open(path, os.O_RDONLY), 0)

    kernel.in_a_child(join)
    return "" if os.readlink(path) == os.readlink(f"/proc/self/ns/{Path(path).name}") else "joined"


def _opens(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def _opens_by_handle() -> str:
    """An empty handle is refused as such (EINVAL, ESTALE) to those who may, and with EPERM to all others."""
    handle = b"\x08\0\0\0\x01\0\0\0" + b"\x02" + b"\0" * 7
    try:
        kernel.call("open_by_handle_at", -100, handle, 0)
    except PermissionError:
        return ""
    except OSError as error:
        return f"may open files by handle ({error.strerror})" if error.errno in (116, 2) else ""
    return "opened a file by its handle"


def _names_the_machine(given: Given) -> str:
    """Give the machine the name that it has."""
    name = os.uname().nodename
    kernel.in_a_child(kernel.call, "sethostname", name, len(name))
    return "" if apart("uts", given) else "allowed"
