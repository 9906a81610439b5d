from runflow.deliveries.sending.health import FAILING_ATTEMPTS, FAILING_SECONDS, DisabledReason, Health, judge
from runflow.deliveries.sending.outcome import FailureReason, Outcome

BAD = Outcome(15, 500, "", FailureReason.HTTP_STATUS, "h.example answered with HTTP status 500.")
GONE = Outcome(15, 410, "", FailureReason.HTTP_STATUS, "h.example answered with HTTP status 410.", is_final=True)


def test_a_receiver_that_is_gone_says_so_once() -> None:
    found = judge(GONE, Health(1, 0))
    assert found is not None and found.code is DisabledReason.GONE
    assert "410" in found.reason and "disabled_at" in found.reason


def test_long_and_often_enough() -> None:
    found = judge(BAD, Health(FAILING_ATTEMPTS, FAILING_SECONDS))
    assert found is not None and found.code is DisabledReason.FAILING
    assert found.reason.startswith("All of the last 8 attempts failed, over 3.0 days. The last one: h.example answered")


def test_one_without_the_other_is_not_enough() -> None:
    assert judge(BAD, Health(FAILING_ATTEMPTS - 1, 10 * FAILING_SECONDS)) is None
    assert judge(BAD, Health(100_000, FAILING_SECONDS - 1)) is None
