"""Start a command in the view of `enter.py`, built by bubblewrap: some systems let it make namespaces, and not us.

Stands alone, in the engine's own Python: `python -I -S bubblewrap.py FD`, in a session of its own; the plan comes as
JSON through the descriptor. This process waits outside, so that its end is the command's; bubblewrap's first process
within ends with it, and with it all that the command has started. `bubblewrap.py inside FD` runs in there and leaves
what rights are left before it becomes the command.
"""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import enter
import kernel

_SCRIPT = "/run/runflow/scripts/isolation/bubblewrap.py"
"""Where the view has this file (`view.py`)."""


def main(arguments: "list[str]") -> None:
    """Build the sandbox and run the command in it. Returns never."""
    with os.fdopen(int(arguments[0])) as handed:
        plan = json.load(handed)
    guard = plan["guard"]
    kernel.die_with_parent()
    if os.getppid() != plan["worker"]:  # it died before the guard was set
        os._exit(1)
    kernel.take_orphans()  # where bubblewrap is killed, its first process within is ours
    process = os.fork()
    if process == 0:
        enter.guarded(_wrap, plan)
    kernel.close_others({guard})
    enter.wait_outside(process, guard)


def _wrap(plan) -> None:  # type: ignore[no-untyped-def]
    """Become bubblewrap, which becomes the command's first process."""
    kernel.die_with_parent()
    rest = {name: value for name, value in plan.items() if name != "mounts"}
    words = ["--die-with-parent", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    words += [] if plan["network"] else ["--unshare-net"]
    if os.geteuid() == 0:
        rest["devices"] = [entry["at"] for entry in plan["mounts"] if entry["kind"] == "bind" and entry["devices"]]
        words += ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP"]
    inside = _held(json.dumps(rest))
    held = {inside}
    for entry in plan["mounts"]:
        words += _words(entry, held)
    words += ["--remount-ro", "/", "--chdir", "/"]
    given = _held("\0".join(words) + "\0")
    held.add(given)
    command = [plan["python"], "-I", "-S", _SCRIPT, "inside", str(inside)]
    kernel.close_others({*plan["keep"], *held})
    os.execve(plan["bubblewrap"], ["bwrap", "--args", str(given), *command], plan["environment"])  # noqa: S606


def _held(text: str) -> int:
    """Return a descriptor that a text can be read from, for a program that is started."""
    descriptor = os.memfd_create("runflow", 0)
    os.write(descriptor, text.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _words(entry, held: "set[int]") -> "list[str]":  # type: ignore[no-untyped-def]
    """Say one thing of the view (`view.py` says which kinds there are) in bubblewrap's words."""
    kind, place = entry["kind"], entry["at"]
    if kind == "bind":
        how = "--dev-bind" if entry["devices"] else "--bind" if entry["writable"] else "--ro-bind"
        return [how + ("-try" if entry["optional"] else ""), entry["source"], place]
    if kind == "memory":
        return ["--perms", f"{entry['mode']:o}", "--size", str(entry["size_bytes"]), "--tmpfs", place]
    if kind == "processes":
        return ["--proc", place, *_settings(place)]
    if kind == "link":
        return ["--symlink", entry["source"], place]
    if kind == "text":
        text = _held(entry["text"])
        held.add(text)
        return ["--perms", "0644", "--file", str(text), place]
    return ["--perms", "0755", "--dir", place]


def _settings(place: str) -> "list[str]":
    """Let nobody write the kernel's settings: they are guarded by root's number, not by its rights."""
    if os.geteuid() != 0:
        return []
    return [word for name in kernel.SETTINGS for word in ("--ro-bind-try", f"/proc/{name}", f"{place}/{name}")]


def _inside(arguments: "list[str]") -> None:
    """Leave every right that the command is not to have, and become it."""
    with os.fdopen(int(arguments[0])) as handed:
        plan = json.load(handed)
    for place in plan.get("devices", ()):
        # Root's number owns them, and bubblewrap's own way to protect a mount takes the device away.
        if os.path.exists(place):
            kernel.keep_modes(place)
    enter.become(plan, *os.pipe())


if __name__ == "__main__":
    try:
        if sys.argv[1] == "inside":
            _inside(sys.argv[2:])
        else:
            main(sys.argv[1:])
    except OSError as problem:
        os.write(2, f"SANDBOX: {enter.told(problem)}\n".encode())
    os._exit(enter.REFUSED_EXIT_CODE)
