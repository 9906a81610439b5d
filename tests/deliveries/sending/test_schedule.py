import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.deliveries.sending.outcome import FailureReason, Outcome
from runflow.deliveries.sending.schedule import DELAYS, MAX_ATTEMPTS, GiveUp, Retry, Succeeded, decide

FAILED = Outcome(5, 500, "", FailureReason.HTTP_STATUS, "h answered with HTTP status 500.")
GONE = Outcome(5, 410, "", FailureReason.HTTP_STATUS, "h answered with HTTP status 410.", is_final=True)


def test_the_schedule_of_the_contract() -> None:
    assert list(DELAYS) == [0, 10, 60, 300, 1800, 7200, 21600, 86400]
    assert MAX_ATTEMPTS == 8
    waits = []
    for attempt in range(1, MAX_ATTEMPTS):
        decision = decide(FAILED, attempt, MAX_ATTEMPTS, 0.5)
        assert isinstance(decision, Retry)
        waits.append(decision.after_seconds)
    assert waits == [10, 60, 300, 1800, 7200, 21600, 86400]


@given(st.integers(1, 7), st.floats(0, 1))
def test_jitter_is_ten_percent(attempt: int, luck: float) -> None:
    decision = decide(FAILED, attempt, MAX_ATTEMPTS, luck)
    assert isinstance(decision, Retry)
    assert decision.after_seconds == pytest.approx(DELAYS[attempt], rel=0.1 + 1e-9)
    assert (decision.reason, decision.detail) == (FailureReason.HTTP_STATUS, FAILED.message)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1))
def test_success_ends_it_at_any_attempt(attempt: int, most: int, luck: float) -> None:
    assert decide(Outcome(5, 200), attempt, most, luck) == Succeeded()


@given(st.integers(1, 20), st.integers(0, 20), st.floats(0, 1))
def test_the_last_attempt_exhausts_it(most: int, beyond: int, luck: float) -> None:
    decision = decide(FAILED, most + beyond, most, luck)
    assert isinstance(decision, GiveUp)
    assert decision.reason is FailureReason.EXHAUSTED
    assert decision.detail == f"All {most} attempts failed. The last one: h answered with HTTP status 500."


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_final_failure_ends_it_at_once_with_its_own_reason(attempt: int, most: int) -> None:
    decision = decide(GONE, attempt, most, 0.5)
    assert decision == GiveUp(FailureReason.HTTP_STATUS, "h answered with HTTP status 410. It is not tried again.")


def test_more_attempts_than_delays_go_on_at_the_last_delay() -> None:
    decision = decide(FAILED, 30, 40, 0.5, (0, 1, 2))
    assert isinstance(decision, Retry)
    assert decision.after_seconds == 2
