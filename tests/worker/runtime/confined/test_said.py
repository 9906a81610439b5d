"""What a build prints, in its log and at hand."""

from pathlib import Path

from runflow.worker.runtime.confined.said import KEPT_BYTES, Said


def test_what_is_short_is_kept_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("earlier\n")
    with Said(log) as said:
        said.take(b"one\n")
        assert log.read_text() == "earlier\none\n"
        said.take(b"fetched https://user:secret@host/x\n")
    assert said.tail() == "one\nfetched https://host/x"
    assert log.read_text().startswith("earlier\none\nfetched")


def test_of_what_is_long_head_and_tail_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Said(log) as said:
        for number in range(300_000):
            said.take(b"%08d\n" % number)
    kept = log.read_bytes()
    head, _, rest = kept.partition(b"\n[")
    left_out, _, tail = rest.partition(b" bytes are left out here]\n")
    assert len(head) + len(tail) == KEPT_BYTES
    assert int(left_out) == 300_000 * 9 - KEPT_BYTES
    assert head.startswith(b"00000000\n")
    assert tail.endswith(b"00299999\n")
    assert said.tail().endswith("00299998\n00299999")


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, Said(full) as said:
        said.take(b"said")
    assert said.tail() == "said"
