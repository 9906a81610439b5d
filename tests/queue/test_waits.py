"""The parts of a wait, of times that may be anything: clocks differ, and workers say what they like."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from runflow.queue.waits import MOST_MS, NOTHING, Measured, Wait, begun_at, split

SUBMITTED = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: float | None) -> datetime | None:
    return None if seconds is None else SUBMITTED + timedelta(seconds=seconds)


@dataclass(frozen=True, kw_only=True)
class Held:
    """An attempt whose times are seconds after the submission."""

    requeued: float | None = None
    offered: float = 0.0
    came: float | None = None
    ready: float | None = None
    started: float | None = None

    created_at = SUBMITTED

    @property
    def offered_at(self) -> datetime:
        return SUBMITTED + timedelta(seconds=self.offered)

    @property
    def now(self) -> datetime:
        return SUBMITTED + timedelta(seconds=1000)

    @property
    def requeued_at(self) -> datetime | None:
        return after(self.requeued)

    @property
    def worker_came_at(self) -> datetime | None:
        return after(self.came)

    @property
    def worker_ready_at(self) -> datetime | None:
        return after(self.ready)

    @property
    def run_started_at(self) -> datetime | None:
        return after(self.started)


def seconds(held: Held, measured: Measured = NOTHING, *, until: float) -> tuple[float, ...]:
    """The wait in seconds: whole, queue, machine, runtime, model, engine."""
    wait = split(held, measured, until=SUBMITTED + timedelta(seconds=until))
    parts = (wait.machine_ms, wait.runtime_ms, wait.model_ms, wait.engine_ms)
    return tuple(ms / 1000 for ms in (wait.waited_ms, wait.waited_ms - sum(parts), *parts))


def test_a_worker_that_was_there_leaves_the_lane_to_the_queue() -> None:
    held = Held(offered=10, came=-100, ready=-50)
    assert seconds(held, Measured(1000, 2000, 3000), until=20) == (20, 14, 0, 1, 2, 3)


def test_before_the_offer_a_run_waits_for_its_worker_and_then_for_that_one_s_first_engine() -> None:
    assert seconds(Held(offered=50, came=30, ready=45), Measured(engine_ms=500), until=52) == (52, 6.5, 30, 0, 0, 15.5)
    assert seconds(Held(offered=50, came=-5, ready=45), until=52) == (52, 7, 0, 0, 0, 45), "it came before, not ready"
    assert seconds(Held(offered=50, came=30), until=52) == (52, 22, 30, 0, 0, 0), "nobody knows when it was ready"
    assert seconds(Held(offered=50), until=52) == (52, 52, 0, 0, 0, 0), "another process has its name"


def test_what_an_earlier_attempt_took_is_in_the_queue() -> None:
    held = Held(requeued=40, offered=50, came=45, ready=48)
    assert seconds(held, until=51) == (51, 43, 5, 0, 0, 3)
    assert seconds(Held(requeued=40, offered=50, came=30, ready=35), until=51) == (51, 51, 0, 0, 0, 0)


def test_what_a_worker_measured_is_no_more_than_the_time_for_which_it_had_the_run() -> None:
    held = Held(offered=10)
    assert seconds(held, Measured(4000, 4000, 4000), until=20) == (20, 10, 0, 4, 4, 2)
    assert seconds(held, Measured(10**9, 10**9, 10**9), until=20) == (20, 10, 0, 10, 0, 0)
    assert seconds(held, Measured(1, 1, 1), until=5) == (5, 5, 0, 0, 0, 0), "a clock that goes wrong"


TIME = st.floats(-1e4, 1e7)


@given(
    st.builds(
        Held,
        requeued=st.none() | TIME,
        offered=TIME,
        came=st.none() | TIME,
        ready=st.none() | TIME,
    ),
    st.builds(Measured, *[st.integers(0, 10**9)] * 3),
    TIME,
)
def test_the_parts_add_up_and_none_is_negative(held: Held, measured: Measured, until: float) -> None:
    wait = split(held, measured, until=SUBMITTED + timedelta(seconds=until))
    parts = (wait.machine_ms, wait.runtime_ms, wait.model_ms, wait.engine_ms)
    assert min(parts) >= 0 and sum(parts) <= wait.waited_ms <= MOST_MS


def test_no_column_is_too_small() -> None:
    assert split(Held(offered=3e6, came=2.5e6), Measured(), until=SUBMITTED + timedelta(days=300)) == Wait(
        MOST_MS, MOST_MS, 0, 0, 0
    )


def test_a_begin_before_the_submission_or_after_now_is_not_believed() -> None:
    assert begun_at(Held(), SUBMITTED - timedelta(seconds=1)) == SUBMITTED
    assert begun_at(Held(), SUBMITTED + timedelta(days=9)) == Held().now
    assert begun_at(Held(started=7), SUBMITTED + timedelta(seconds=9)) == after(7), "a heartbeat said so before"
