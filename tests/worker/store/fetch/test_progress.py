"""What a run's log says of a download that takes long."""

import pytest

from runflow.worker.store.fetch.progress import Progress, shown


def test_a_long_download_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [100.0], list[str]()
    monkeypatch.setattr("runflow.worker.store.fetch.progress.time.monotonic", lambda: now[0])
    note = Progress("vae/a.safetensors", told.append)
    for seconds, done in ((0, 1_000_000_000), (5, 1_500_000_000), (10, 2_000_000_000), (12, 2_100_000_000)):
        now[0] = 100.0 + seconds
        note(done, 4_000_000_000)
    assert told == ['Fetching the model "vae/a.safetensors": 2.0 GB of 4.0 GB, about 20 s left.']
    now[0] += 10
    note(2_200_000_000, None)
    assert told[1:] == ['Fetching the model "vae/a.safetensors": 2.2 GB.']


@pytest.mark.parametrize(("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"), (5e15, "5000.0 TB")])
def test_sizes_are_read_by_people(size: float, text: str) -> None:
    assert shown(size) == text
