"""A program in the sandbox: what it sees, what it can do, and that its end is the end of everything it started."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from runflow.worker.engine.isolation import enter, kernel
from runflow.worker.engine.isolation.enter import REFUSED_EXIT_CODE
from runflow.worker.engine.isolation.rungs import Rung, Sandbox, first_uid, make_life
from runflow.worker.engine.isolation.view import Mount
from tests.support.shut_in import (
    DAEMON,
    LEAVES_A_PROGRAM,
    LOOK_AROUND,
    RIGHTS,
    SAYS,
    TRIES,
    assert_has_no_right,
    assert_nobody_else_gets_to,
    lives,
    victim,
    with_given,
)
from tests.support.waiting import until
from tests.worker.engine.isolation.conftest import (
    PLAIN_UID,
    SYSTEM_PYTHON,
    Held,
    Inside,
    make_runtime,
    plain_held,
    run_as_plain_user,
)

KINDS = ("own user", "root's number", "plain user")
OWN = (
    *("shared memory", "queue", "memory by name", "tmp", "list token", "udp", "watch"),
    *("priority of all", "I/O priority of all", "comfyui", "empty comfyui"),
    *("comfyui's mode", "comfyui's times", "comfyui's attributes", "comfyui's owner", "comfyui's flags"),
)
"""What is its own in here, the machine has as something else: another memory, /tmp, network, layer over ComfyUI."""


async def test_it_sees_nothing_but_what_it_was_given(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    said = await inside(LOOK_AROUND + f"print(os.path.exists({str(tmp_path / 'secret')!r}))")
    top, processes, secret = said.splitlines()
    assert set(eval(top)) <= {
        *("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "proc", "dev", "sys", "run", "var", "tmp"),
        # Ways that lead to its ComfyUI, to its Python and to what Python's environment names.
        *(path.parts[1] for path in (tmp_path, Path(os.__file__), Path(sys.executable), Path(sys.prefix))),
        *(path.parts[1] for path in map(Path, sys.path) if path.is_absolute() and len(path.parts) > 1),
        "home",
        "opt",
        "root",
    }
    assert len(eval(processes)) <= 2  # the first process of its namespace, and itself
    assert secret == "False"


async def test_it_writes_to_its_own_folders_and_changes_nothing_else(held: Held, inside: Inside) -> None:
    said = await inside("""
        import os
        base = os.environ["BASE"]
        for place in (f"{base}/output/mine", f"{base}/tmp/mine", "main.py", f"{base}/mine", f"{base}/models/mine",
                      "/usr/mine", "/etc/mine", "/mine"):
            try:
                open(place, "w").close()
                print("wrote", os.path.basename(os.path.dirname(place)) or place)
            except OSError:
                pass
    """)
    wrote = [line.removeprefix("wrote ") for line in said.splitlines()]
    assert wrote[:2] == ["output", "tmp"]
    assert set(wrote[2:]) <= {"main.py"}
    assert (held.life / "output" / "mine").exists()
    assert (held.runtime.comfy_dir / "main.py").read_text() == "print('main')\n"


def held_as(kind: str, folder: Path) -> Held:
    """Make the rung for a worker of this kind, in a folder that any user may enter."""
    folder.chmod(0o755)
    if kind == "plain user":
        return plain_held(folder, Rung.NAMESPACES)
    if os.geteuid() != 0:
        pytest.skip("only root has users to give")
    runtime = make_runtime(folder, SYSTEM_PYTHON)
    users = first_uid(folder) if kind == "own user" else None
    sandbox = Sandbox(Rung.NAMESPACES, privileged=True, users=users, layered=True, network=False)
    life = runtime.base_dir / "lives" / "one"
    make_life(life, sandbox.uid(1))
    return Held(runtime, sandbox, life)


async def run_as(held: Held, kind: str, code: str) -> str:
    """Run a program in there as that worker would, and return what it printed."""
    if kind == "plain user":
        return run_as_plain_user(held, code)
    engine, given = held.process(code)
    await engine.start_within(given)
    await engine.wait()
    await engine.kill()
    return engine.log_tail().strip()


@pytest.mark.parametrize("kind", KINDS)
async def test_it_gets_nothing_of_the_machine(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="runflow-enter-") as folder:
        held = held_as(kind, Path(folder))
        with victim(Path(folder), PLAIN_UID if kind == "plain user" else 0) as given:
            said = await run_as(
                held, kind, with_given(f"{TRIES}got = [one for one in got if one not in {OWN}]\n{SAYS}", given)
            )
    assert said.splitlines()[0] == "got []", said


WRITES_TO_ITS_PACK = """
    import os
    for place in ("made", "js/made", "js/deeper/made", "other/made"):
        try:
            with open(f"custom_nodes/pack/{place}", "w") as file:
                file.write("x")
            print("wrote", place)
        except OSError as error:
            print(type(error).__name__, place)
    os.rename("custom_nodes/pack/js/made", "custom_nodes/pack/settings.json")
    print(open("custom_nodes/pack/settings.json").read(), open("custom_nodes/pack/js/a.js").read())
"""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_pack_writes_to_its_own_folders_and_nothing_of_it_stays(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="runflow-enter-") as folder:
        held = held_as(kind, Path(folder))
        pack = held.runtime.comfy_dir / "custom_nodes" / "pack"
        (pack / "js" / "deeper").mkdir(parents=True)
        (pack / "settings.json").write_text("{}")
        (pack / "js" / "a.js").write_text("js")
        if kind == "plain user":
            for one in (pack.parent, pack, pack / "js", pack / "js" / "deeper"):
                os.chown(one, PLAIN_UID, PLAIN_UID)
        said = await run_as(held, kind, WRITES_TO_ITS_PACK)
        wrote = [f"wrote {place}" for place in ("made", "js/made", "js/deeper/made")]
        assert said.splitlines() == [*wrote, "FileNotFoundError other/made", "x js"]
        assert (pack / "settings.json").read_text() == "{}"
        assert sorted(one.name for one in pack.iterdir()) == ["js", "settings.json"]


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_nobody_can_run_what_it_left_of_the_workers_user(kind: str) -> None:
    with tempfile.TemporaryDirectory(prefix="runflow-enter-") as folder:
        held = held_as(kind, Path(folder))
        assert await run_as(held, kind, LEAVES_A_PROGRAM) == "left"
        assert_nobody_else_gets_to(held.life / "output" / "left")


async def test_it_has_no_right_and_gets_none(inside: Inside) -> None:
    said = await inside(RIGHTS)
    assert_has_no_right(said)


async def test_it_reaches_no_socket_of_the_machine_but_its_own_loopback(inside: Inside) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0runflow-test")
        abstract.listen()
        said = await inside(f"""
            import socket
            for family, place in ((socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})),
                                  (socket.AF_INET, ("169.254.169.254", 80)), (socket.AF_UNIX, "\\0runflow-test")):
                try:
                    socket.socket(family).connect(place)
                    print("reached", place)
                except OSError:
                    print("not")
            own = socket.create_server(("127.0.0.1", 0))
            socket.create_connection(own.getsockname(), timeout=5)
            print("own")
        """)
    assert said.splitlines() == ["not", "not", "not", "own"]


async def test_it_has_no_descriptor_but_its_own_three(inside: Inside) -> None:
    said = await inside("""
        import os
        print(sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1], os.readlink("/proc/self/fd/0"))
    """)
    assert said == "[0, 1, 2] /dev/null"


async def test_it_can_write_no_file_larger_than_it_may(inside: Inside) -> None:
    said = await inside("""
        import os
        file = open(os.environ["BASE"] + "/output/large", "wb")
        try:
            for _ in range(5):
                file.write(bytes(1 << 20)); file.flush()
        except OSError as error:
            print(error.errno)
    """)
    assert said == "27"


@pytest.mark.parametrize(("code", "status"), [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
async def test_its_exit_status_is_told(held: Held, code: str, status: int) -> None:
    engine, given = held.process(code)
    await engine.start_within(given)
    assert await engine.wait() == status
    await engine.kill()


def members(engine_pid: int) -> list[psutil.Process]:
    return psutil.Process(engine_pid).children(recursive=True)


@pytest.mark.parametrize("how", ["kill", "outside", "first"])
async def test_what_it_started_ends_with_it(held: Held, how: str) -> None:
    engine, given = held.process(DAEMON)
    await engine.start_within(given)
    await until(lambda: "ready" in engine.log_tail() and "daemon" in engine.log_tail())
    assert engine.pid is not None
    family = members(engine.pid)
    assert len(family) >= 3
    if how == "kill":
        await engine.kill()
    elif how == "outside":
        os.kill(engine.pid, signal.SIGKILL)
    else:
        family[0].kill()
    await until(lambda: not any(lives(one) for one in family))
    await engine.kill()


async def test_a_view_that_cannot_be_built_says_what_is_missing(held: Held) -> None:
    engine, given = held.process("print('never')")
    given["mounts"].append(asdict(Mount("bind", "/gone", source="/not/there")))
    await engine.start_within(given)
    assert await engine.wait() == REFUSED_EXIT_CODE
    assert "SANDBOX: " in engine.log_tail()
    assert "No such file" in engine.log_tail()
    await engine.kill()


def test_a_plain_user_has_the_same_sandbox() -> None:
    # Not pytest's own folder, which only who runs the suite may enter.
    with tempfile.TemporaryDirectory(prefix="runflow-plain-") as folder:
        said = run_as_plain_user(plain_held(Path(folder), Rung.NAMESPACES), LOOK_AROUND + RIGHTS)
    assert_has_no_right(said)
    processes = said.splitlines()[1]
    assert len(eval(processes)) <= 2


def test_a_kernel_that_protects_no_mount_below_another_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    code = f"""
import sys
sys.path.insert(0, {str(Path(enter.__file__).parent)!r})
import kernel
kernel.unshare(kernel.NEW_MOUNTS)
kernel.keep_mounts_to_ourselves()
kernel._MOUNT_SETATTR = 100_000
kernel.bind({str(tmp_path)!r}, {str(tmp_path)!r})
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Linux 5.12" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_whoever_waits_for_an_engine_ends_as_it_did(number: signal.Signals) -> None:
    process = os.fork()
    if process == 0:
        try:
            kernel.end_like(int(number))
        finally:
            os._exit(REFUSED_EXIT_CODE)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -number
