"""Locks and holds between tasks and between real processes, some of which are killed."""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from runflow.worker.store.locks import FileLock, Held, HeldAlone, Holds
from tests.support.waiting import DEADLINE

LOCK = """
import asyncio, sys
from pathlib import Path
from runflow.worker.store.locks import FileLock
async def main():
    async with FileLock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""
HOLD = """
import sys
from pathlib import Path
from runflow.worker.store.locks import Holds
with Holds(Path(sys.argv[1])).hold("model"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding_process(program: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process that holds a lock until its input ends; it has the lock by now."""
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def holds(tmp_path: Path) -> Holds:
    return Holds(tmp_path / "holds")


async def test_one_task_at_a_time_has_a_file(tmp_path: Path) -> None:
    inside: list[int] = []
    shared = FileLock(tmp_path / "lock")

    async def work(number: int) -> None:
        async with shared if number % 2 else FileLock(tmp_path / "lock"):
            inside.append(number)
            await asyncio.sleep(0)
            assert inside == [number]
            inside.remove(number)

    await asyncio.gather(*(work(number) for number in range(10)))
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


async def test_a_file_is_free_when_the_process_that_has_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holding_process(LOCK, path) as process:

        async def take() -> None:
            async with FileLock(path):
                pass

        waiting = asyncio.create_task(take())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done(), "the loop goes on, and the file is not ours"
        process.kill()
        async with asyncio.timeout(DEADLINE):
            await waiting


async def test_who_is_cancelled_while_waiting_holds_nothing(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")

    async def take() -> None:
        async with lock:
            raise AssertionError("somebody else has it")

    async with lock:
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(DEADLINE), lock:
        pass


async def test_where_nothing_can_be_locked_the_error_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing/lock"):
        async with FileLock(tmp_path / "missing/lock"):
            pass


def test_several_hold_a_name_and_nobody_has_it_alone_meanwhile(holds: Holds) -> None:
    first, second = holds.hold("model"), holds.hold("model")
    assert holds.try_alone("model") is None
    first.release()
    first.release()
    assert holds.try_alone("model") is None
    second.release()
    with holds.try_alone("model") or pytest.fail("it is held") as _:
        assert holds.try_alone("model") is None
        with pytest.raises(HeldAlone, match=r"'model'.*Try again"):
            holds.hold("model")
        with holds.hold("another"):
            pass
    with holds.hold("model"):
        pass


async def test_holding_waits_for_who_has_it_alone(holds: Holds) -> None:
    alone = holds.try_alone("model")
    assert alone is not None
    order: list[str] = []

    async def use() -> None:
        async with holds.holding("model"):
            order.append("used")

    using = asyncio.create_task(use())
    await asyncio.sleep(0)
    order.append("released")
    alone.release()
    async with asyncio.timeout(DEADLINE):
        await using
    assert order == ["released", "used"]


def test_a_process_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    holds = Holds(tmp_path)
    with holding_process(HOLD, tmp_path) as one, holding_process(HOLD, tmp_path) as other, holds.hold("model"):
        pass
    with holding_process(HOLD, tmp_path) as one, holding_process(HOLD, tmp_path) as other:
        one.kill()
        one.wait()
        assert holds.try_alone("model") is None
        other.kill()
        other.wait()
        alone = holds.try_alone("model")
        assert alone is not None
        alone.release()


def test_a_program_that_we_start_inherits_no_hold(holds: Holds) -> None:
    with holds.hold("model"):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    with child:
        alone = holds.try_alone("model")
        assert alone is not None
        alone.release()
        child.kill()


def test_the_last_use_is_told(tmp_path: Path) -> None:
    holds, path = Holds(tmp_path), tmp_path / "model"
    assert holds.last_used("model") == 0.0
    with holds.try_alone("model") or pytest.fail("it is held"):
        pass
    assert holds.last_used("model") == 0.0, "who takes it away does not use it"
    with holds.hold("model"):
        began = holds.last_used("model")
        assert began > 0.0
        os.utime(path, (1.0, 1.0))
    assert holds.last_used("model") >= began, "the end of a use counts, not its beginning alone"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0b"])
def test_a_name_leads_nowhere_else(holds: Holds, name: str) -> None:
    for use in (holds.hold, holds.try_alone, holds.last_used):
        with pytest.raises(ValueError, match="give the name of a file"):
            use(name)


def test_names_are_forgotten_that_nobody_holds_or_keeps(holds: Holds) -> None:
    for name in ("kept", "idle", "held"):
        holds.hold(name).release()
    with holds.hold("held"):
        assert holds.prune({"kept"}) == ["idle"]
        assert holds.last_used("idle") == 0.0
        assert holds.last_used("kept") > 0.0
    assert holds.prune(()) == ["held", "kept"]


def test_who_opened_a_file_that_was_deleted_before_it_was_locked_takes_the_next(
    holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds.hold("model").release()
    opened = os.open
    pruned: list[str] = []

    def open_slowly(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = opened(path, flags, mode)
        if not pruned:
            monkeypatch.undo()
            pruned.extend(holds.prune(()))
        return descriptor

    monkeypatch.setattr(os, "open", open_slowly)
    with holds.hold("model"):
        assert pruned == ["model"]
        assert holds.try_alone("model") is None


WORK = """
import os, random, sys, time
from pathlib import Path
from runflow.worker.store.locks import HeldAlone, Holds
holds, folder, chance = Holds(Path(sys.argv[1])), Path(sys.argv[2]), random.Random(sys.argv[3])
opened = os.open
def open_slowly(*given):
    descriptor = opened(*given)
    if chance.random() < 0.3:
        time.sleep(0.0002)  # the others come in between opening and locking
    return descriptor
os.open = open_slowly
done = 0
while done < 1000:
    name = "model"
    content = folder / name
    deed = chance.random()
    if deed < 0.5:
        try:
            with holds.hold(name):
                content.touch()
                done += 1
                for _ in range(20):
                    os.sched_yield()
                    assert content.exists(), f"{name} was taken away from its user"
        except HeldAlone:
            pass
    elif deed < 0.6:
        alone = holds.try_alone(name)
        if alone is not None:
            with alone:
                content.unlink(missing_ok=True)
                for _ in range(20):
                    os.sched_yield()
                    assert not content.exists(), f"{name} is used by another"
    else:
        holds.prune(())
"""


def test_of_many_processes_none_takes_away_what_another_uses(tmp_path: Path) -> None:
    (tmp_path / "contents").mkdir()
    seed = random.randrange(2**32)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(tmp_path / "holds"), str(tmp_path / "contents"), f"{seed}-{number}"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    said = [worker.communicate(timeout=DEADLINE)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, f"seed {seed}:\n" + "\n".join(said)


NAMES = st.sampled_from(["a", "b"])


class Using(RuleBasedStateMachine):
    """Two users of one folder take, give back and prune at random; a count by name says what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._users = [Holds(Path(self._folder.name)) for _ in range(2)]
        self._shared: list[tuple[str, Held]] = []
        self._alone: dict[str, Held] = {}

    def _is_held(self, name: str) -> bool:
        return any(held == name for held, _ in self._shared)

    @rule(name=NAMES, user=st.integers(0, 1))
    def hold(self, name: str, user: int) -> None:
        if name in self._alone:
            with pytest.raises(HeldAlone):
                self._users[user].hold(name)
        else:
            self._shared.append((name, self._users[user].hold(name)))

    @rule(name=NAMES, user=st.integers(0, 1))
    def take_alone(self, name: str, user: int) -> None:
        held = self._users[user].try_alone(name)
        assert (held is None) == (name in self._alone or self._is_held(name))
        if held is not None:
            self._alone[name] = held

    @rule(index=st.integers(0, 9))
    def give_back_a_hold(self, index: int) -> None:
        if index < len(self._shared):
            self._shared.pop(index)[1].release()

    @rule(name=NAMES)
    def give_back_alone(self, name: str) -> None:
        if name in self._alone:
            self._alone.pop(name).release()

    @rule(user=st.integers(0, 1), kept=st.sets(NAMES))
    def prune(self, user: int, kept: set[str]) -> None:
        for name in self._users[user].prune(kept):
            assert name not in kept
            assert name not in self._alone
            assert not self._is_held(name)

    @invariant()
    def what_is_held_has_a_file(self) -> None:
        for name in {*self._alone, *(name for name, _ in self._shared)}:
            assert (Path(self._folder.name) / name).exists()

    def teardown(self) -> None:
        for held in [*self._alone.values(), *(held for _, held in self._shared)]:
            held.release()
        self._folder.cleanup()


TestUsing = Using.TestCase
TestUsing.settings = settings(deadline=None, max_examples=50, stateful_step_count=30)
