"""A program in the view that bubblewrap builds: what it sees, what it can do, and what ends with it."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from runflow.worker.engine.isolation.probe import probe
from runflow.worker.engine.isolation.rungs import Rung, Sandbox, make_life
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
    named,
    victim,
    with_given,
)
from tests.support.waiting import until
from tests.worker.engine.isolation.conftest import (
    PLAIN_UID,
    Held,
    make_runtime,
    plain_held,
    run_as_plain_user,
)

pytestmark = [
    pytest.mark.optional,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="there is no bwrap here"),
]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter: pytest's own is closed to others."""
    with tempfile.TemporaryDirectory(prefix="runflow-wrap-") as folder:
        yield Path(folder)


@pytest.fixture
def wrapped(tmp_path: Path) -> Held:
    """The rung for the user of this suite."""
    runtime = make_runtime(tmp_path, Path(sys.executable))
    life = tmp_path / "lives" / "one"
    make_life(life, None)
    return Held(runtime, Sandbox(Rung.BUBBLEWRAP, network=False), life)


async def run(held: Held, code: str) -> str:
    """Run a program in there and return what it printed."""
    engine, given = held.process(code)
    await engine.start_within(given)
    await engine.wait()
    await engine.kill()
    return engine.log_tail().strip()


async def test_it_is_found_where_we_may_make_no_namespace(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, Path(sys.executable))
    sandbox = await probe(runtime, network=False, only=Rung.BUBBLEWRAP)
    assert sandbox.rung is Rung.BUBBLEWRAP, sandbox.why_not_better
    assert sandbox.separates_files
    assert "Namespaces cannot be used" in (sandbox.why_not_better or "")


async def test_it_sees_little_and_has_no_right(wrapped: Held) -> None:
    said = await run(wrapped, LOOK_AROUND + RIGHTS)
    assert_has_no_right(said)
    assert len(eval(said.splitlines()[1])) <= 2
    code = "import os; print(len(os.listdir('/proc/self/fd')) - 3, os.readlink('/proc/self/fd/0'))"
    assert await run(wrapped, code) == "1 /dev/null"


async def test_it_writes_to_its_own_folders_only(wrapped: Held) -> None:
    said = await run(
        wrapped,
        """
        import os
        base = os.environ["BASE"]
        for place in (f"{base}/output/mine", f"{base}/tmp/mine", "main.py", f"{base}/models/mine", "/usr/mine",
                      "/etc/mine", "/mine", "/run/mine", "/dev/mine"):
            try:
                open(place, "w").close()
                print("wrote", place.removeprefix(base))
            except OSError:
                pass
        print(open("/etc/hosts").read().split()[1])
        """,
    )
    assert said.splitlines() == ["wrote /output/mine", "wrote /tmp/mine", "localhost"]
    assert (wrapped.life / "output" / "mine").exists()


@pytest.mark.parametrize("kind", ["this user", "plain user"])
async def test_it_gets_nothing_of_the_machine(kind: str, wrapped: Held, open_folder: Path) -> None:
    owner = PLAIN_UID if kind == "plain user" else os.geteuid()
    held = plain_held(open_folder, Rung.BUBBLEWRAP) if kind == "plain user" else wrapped
    folder = held.runtime.comfy_dir.parent
    # What is its own in here, the machine has as something else: another memory, /tmp, folder, and network.
    own = (
        *("shared memory", "queue", "memory by name", "tmp", "list token", "udp", "watch"),
        *("priority of all", "I/O priority of all"),
    )
    with victim(folder, owner) as given:
        code = with_given(f"{TRIES}got = [one for one in got if one not in {own}]\n{SAYS}", given)
        said = run_as_plain_user(held, code) if kind == "plain user" else await run(held, code)
    assert said.splitlines()[0] == "got []", said


@pytest.mark.parametrize("kind", ["this user", "plain user"])
async def test_nobody_can_run_what_it_left(kind: str, open_folder: Path) -> None:
    if kind == "plain user":
        held = plain_held(open_folder, Rung.BUBBLEWRAP)
        assert run_as_plain_user(held, LEAVES_A_PROGRAM) == "left"
    else:
        if os.geteuid() != 0:
            pytest.skip("only root can be somebody else")
        open_folder.chmod(0o755)
        runtime = make_runtime(open_folder, Path(sys.executable))
        make_life(runtime.base_dir / "lives" / "one", None)
        held = Held(runtime, Sandbox(Rung.BUBBLEWRAP, network=False), runtime.base_dir / "lives" / "one")
        assert await run(held, LEAVES_A_PROGRAM) == "left"
    assert_nobody_else_gets_to(held.life / "output" / "left")


@pytest.mark.parametrize("how", ["kill", "outside", "wrapper"])
async def test_what_it_started_ends_with_it(how: str, wrapped: Held) -> None:
    word = f"runflow-{wrapped.life.parent.parent.name}"
    engine, given = wrapped.process(DAEMON)
    given["command"].append(word)
    await engine.start_within(given)
    await until(lambda: "ready" in engine.log_tail() and "daemon" in engine.log_tail())
    assert engine.pid is not None
    family = psutil.Process(engine.pid).children(recursive=True)
    if how == "kill":
        await engine.kill()
    elif how == "outside":
        os.kill(engine.pid, signal.SIGKILL)
    else:
        family[0].kill()
    await until(lambda: not any(lives(one) for one in family))
    assert named(word) == []
    await engine.kill()


def test_a_plain_user_has_the_same(open_folder: Path) -> None:
    said = run_as_plain_user(plain_held(open_folder, Rung.BUBBLEWRAP), LOOK_AROUND + RIGHTS)
    assert_has_no_right(said)
    assert len(eval(said.splitlines()[1])) <= 2
