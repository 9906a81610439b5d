"""The journal of a growing file says what is missing, whatever happened to whoever wrote it."""

import asyncio
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.worker.store.fetch.blocks import Block, Journal, PartFile, forget, in_thread, journal_of


def part_of(folder: Path, total: int) -> Path:
    part = folder / "model.part"
    part.write_bytes(b"")
    os.truncate(part, total)
    return part


@given(
    st.integers(0, 400),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["noted", "killed before", "killed after"]))),
)
def test_exactly_what_was_not_noted_is_missing(
    tmp_path_factory: pytest.TempPathFactory, total: int, block: int, happenings: list[tuple[int, str]]
) -> None:
    part = part_of(tmp_path_factory.mktemp("journal"), total)
    blocks = [Block(start, min(start + block, total)) for start in range(0, total, block)]
    journal = Journal(part, total, block, '"1"')
    journal.save()
    noted = set()
    for number, happens in happenings:
        if number < len(blocks):
            if happens != "killed before":
                journal.note(blocks[number])
                noted.add(blocks[number])
            if happens != "noted":
                loaded = Journal.load(part)
                assert loaded is not None
                journal = loaded
        assert journal.missing() == [one for one in blocks if one not in noted]
    journal.note_all()
    loaded = Journal.load(part)
    assert loaded is not None
    assert (loaded.missing(), loaded.total_bytes, loaded.validator) == ([], total, '"1"')


@given(st.data())
def test_a_damaged_journal_is_none(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    part = part_of(tmp_path_factory.mktemp("journal"), 1000)
    journal = Journal(part, 1000, 100, '"1"', whole=0b1011)
    journal.save()
    content = bytearray(journal_of(part).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    journal_of(part).write_bytes(content[:at])
    assert Journal.load(part) is None
    content[at] = other
    journal_of(part).write_bytes(content)
    loaded = Journal.load(part)  # a checksum may be written in other letters; it says nothing else then
    assert loaded is None or loaded.missing() == journal.missing()


def test_a_journal_of_another_file_is_none(tmp_path: Path) -> None:
    part = part_of(tmp_path, 1000)
    assert Journal.load(part) is None
    Journal(part, 1000, 100, None).save()
    assert Journal.load(part) is not None
    os.truncate(part, 999)
    assert Journal.load(part) is None
    part.unlink()
    assert Journal.load(part) is None


def test_what_a_kill_left_of_a_note_is_no_harm_and_is_forgotten(tmp_path: Path) -> None:
    part = part_of(tmp_path, 1000)
    Journal(part, 1000, 100, None).save()
    (tmp_path / "model.part.blocks.new").write_text("half")
    journal = Journal.load(part)
    assert journal is not None
    journal.note(Block(0, 100))
    (tmp_path / "model.part.blocks.new").write_text("half")
    forget(part)
    assert list(tmp_path.iterdir()) == []


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: whole(file, data[:3], offset))
    file = PartFile(tmp_path / "model.part")
    file.begin(12)
    file.write(bytearray(b"0123456789"), 1)
    file.close()
    assert (tmp_path / "model.part").read_bytes() == b"\x000123456789\x00"


def test_no_link_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / "model.part").symlink_to(tmp_path / "elsewhere")
    file = PartFile(tmp_path / "model.part")
    with pytest.raises(OSError, match="symbolic links"):
        file.resume()
    file.begin(4)
    file.close()
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


async def test_a_cancellation_waits_for_the_thread() -> None:
    began, may_end, ended = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        assert may_end.wait(60)
        ended.append(True)

    task = asyncio.ensure_future(in_thread(work))
    await began.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
