import uuid

import pytest

from runflow.worker.pool.memory import Peaks, fit_in_machine, fit_on_gpu, highest


def test_the_highest_peak_of_a_version_is_remembered_and_versions_of_long_ago_are_not() -> None:
    peaks = Peaks()
    first, second = uuid.uuid4(), uuid.uuid4()
    for peak in (3, 5, 4):
        peaks.note(first, peak)
    assert (peaks.of(first), peaks.of(second)) == (5, None)
    for _ in range(1000):
        peaks.note(uuid.uuid4(), 1)
    assert peaks.of(first) is None


def test_one_unknown_peak_makes_the_highest_unknown() -> None:
    assert highest([]) == 0
    assert highest([2, 7, 3]) == 7
    assert highest([2, None, 3]) is None


@pytest.mark.parametrize(
    ("one", "other", "fit"), [(40, 48, True), (40, 49, False), (0, 88, True), (None, 1, False), (1, None, False)]
)
def test_two_engines_fit_on_a_gpu_below_nine_tenths_of_it_with_what_cuda_takes(
    one: int | None, other: int | None, fit: bool
) -> None:
    gib = 2**30
    assert fit_on_gpu(one and one * gib, other and other * gib, 100 * gib) is fit


@pytest.mark.parametrize(("one", "other", "fit"), [(20, 29, True), (20, 30, False), (0, 1, False)])
def test_two_engines_stay_in_a_machine_below_half_of_it(one: int, other: int, fit: bool) -> None:
    assert fit_in_machine(one, other, 100) is fit
