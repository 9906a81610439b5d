import pytest

from runflow import errors
from runflow.storage.ranges import Stretch, parse_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", Stretch(0, 1)),
        ("bytes=0-99", Stretch(0, 100)),
        ("bytes=10-", Stretch(10, 100)),
        ("bytes=90-500", Stretch(90, 100)),
        ("bytes=-1", Stretch(99, 100)),
        ("bytes=-500", Stretch(0, 100)),
        ("Bytes = 5-6", Stretch(5, 7)),
    ],
)
def test_one_range(header: str, part: Stretch) -> None:
    assert parse_range(header, 100) == part


@pytest.mark.parametrize(
    "header", [None, "", "bytes=-", "bytes=6-5", "bytes=0-1,5-6", "lines=1-2", "bytes=a-b", "bytes=" + "9" * 30 + "-"]
)
def test_what_cannot_be_read_means_the_whole_file(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=500-600", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_a_range_past_the_end_is_refused(header: str, size: int) -> None:
    with pytest.raises(errors.RangeNotSatisfiable) as caught:
        parse_range(header, size)
    assert caught.value.headers == {"Content-Range": f"bytes */{size}"}
