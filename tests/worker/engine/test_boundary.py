"""What an engine puts in the place of a file is refused with a word for it, and never waited for or followed."""

import ctypes
import errno
import fcntl
import multiprocessing
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runflow.worker.engine import boundary
from runflow.worker.engine.boundary import Budget, BudgetSpent, Folder, NotAFile, open_own, open_step_by_step

SECRET = b"the key of the worker"


@pytest.fixture(params=["one call", "step by step"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    """A folder, opened below by the kernel in one call and, as on other systems, folder by folder."""
    if request.param == "step by step":
        monkeypatch.setattr(boundary, "_open_below", open_step_by_step)
    elif not boundary._open_below.is_one_call:
        pytest.skip("this kernel has no openat2")
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(SECRET)
    with Folder.at(tmp_path / "root") as folder:
        yield folder


def a_socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:  # a socket's whole path may have only some 100 bytes
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def behind_a_link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("b"))
    path.parent.symlink_to("b")
    path.write_bytes(b"x")


IN_ITS_PLACE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (lambda path: path.symlink_to("../../secret"), "It is a link"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "It is a link"),
    "a link of /proc": (lambda path: path.symlink_to("/proc/self/environ"), "It is a link"),
    "a folder that is a link": (behind_a_link, "behind a link|or lies behind one"),
    "a hard link": (lambda path: path.hardlink_to(path.parents[2] / "secret"), "It is a hard link"),
    "a pipe": (os.mkfifo, "It is a named pipe"),
    "a socket": (a_socket, "It is a socket"),
    "a folder": (Path.mkdir, "It is a folder"),
}


@pytest.mark.parametrize("what", IN_ITS_PLACE)
def test_what_is_no_plain_file_is_named_and_not_opened(root: Folder, tmp_path: Path, what: str) -> None:
    put, words = IN_ITS_PLACE[what]
    put(tmp_path / "root/a/out.png")
    with pytest.raises(NotAFile, match=words):
        root.open_file("a/out.png")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_a_device_is_named_and_not_opened(root: Folder, tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "root/zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container makes no devices")
    with pytest.raises(NotAFile, match="device"):
        root.open_file("zero")


@pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="leases are Linux's")
def test_a_file_that_another_holds_back_is_not_waited_for(root: Folder, tmp_path: Path) -> None:
    (tmp_path / "root/out").write_bytes(b"x")
    holder = os.open(tmp_path / "root/out", os.O_RDWR)
    try:
        fcntl.fcntl(holder, fcntl.F_SETSIG, 23)  # SIGURG, which does nothing
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(NotAFile, match="keeps it to itself"):
            root.open_file("out")
    finally:
        os.close(holder)


@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd"])
def test_no_path_leaves_the_folder(root: Folder, path: str) -> None:
    with pytest.raises(NotAFile, match="outside"):
        root.open_file(path)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "x" * 300])
def test_a_name_that_no_file_has_is_refused(root: Folder, path: str) -> None:
    with pytest.raises(NotAFile, match="name"):
        root.open_file(path)


def test_a_plain_file_is_read_by_its_descriptor_whatever_becomes_of_its_name(root: Folder, tmp_path: Path) -> None:
    (tmp_path / "root/a/out.png").write_bytes(b"0123456789")
    with root.open_file("a/out.png") as opened:
        (tmp_path / "root/a/out.png").unlink()
        (tmp_path / "root/a/out.png").symlink_to("../../secret")
        assert (opened.name, opened.size_bytes, opened.size_now()) == ("out.png", 10, 10)
        assert (opened.read(4, 3), opened.read(100, 8)) == (b"3456", b"89")
        reader = opened.reader()
        assert (reader.seek(-3, os.SEEK_END), reader.read(), reader.seek(1), reader.read(2)) == (7, b"789", 1, b"12")
    with pytest.raises(OSError, match="closed"):
        opened.read(1, 0)
    with pytest.raises(FileNotFoundError):
        root.open_file("nope")


def test_a_reader_in_another_thread_keeps_its_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    opened = open_own(tmp_path / "x", "x")
    began, go_on, found = threading.Event(), threading.Event(), list[bytes]()
    really = os.pread

    def slow(*arguments: int) -> bytes:
        began.set()
        assert go_on.wait(60)
        return really(*arguments)

    monkeypatch.setattr(os, "pread", slow)
    thread = threading.Thread(target=lambda: found.append(opened.read(4, 0)))
    thread.start()
    assert began.wait(60)
    opened.close()
    (tmp_path / "y").write_bytes(b"hers")
    with (tmp_path / "y").open("rb"):  # would get the number of a descriptor that is free
        go_on.set()
        thread.join(60)
    assert found == [b"mine"]


RENAME_EXCHANGE = 2


def exchange_for_ever(folder: str, one: str, other: str) -> None:
    """Swap two names as fast as the kernel does it."""
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    descriptor = os.open(folder, os.O_RDONLY)
    while renameat2(descriptor, one.encode(), descriptor, other.encode(), RENAME_EXCHANGE) == 0:
        pass


@pytest.fixture
def swapping(tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Have another process swap two names below the root until the test's end."""
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("only Linux swaps two names at once")
    processes = []

    def start(one: str, other: str) -> None:
        arguments = (str(tmp_path / "root"), one, other)
        process = multiprocessing.get_context("fork").Process(target=exchange_for_ever, args=arguments, daemon=True)
        process.start()
        processes.append(process)

    yield start
    for process in processes:
        process.kill()
        process.join()


@pytest.mark.parametrize("trap", ["link", "hard link", "pipe"])
def test_a_swap_between_check_and_use_gives_the_file_or_a_refusal(
    root: Folder, tmp_path: Path, swapping: Callable[[str, str], None], trap: str
) -> None:
    (tmp_path / "root/out").write_bytes(b"a picture")
    make = {"link": "a link", "hard link": "a hard link", "pipe": "a pipe"}[trap]
    (tmp_path / "root/a/b").mkdir()
    place = tmp_path / "root/a/trap"
    IN_ITS_PLACE[make][0](place) if trap == "pipe" else (
        place.symlink_to("../secret") if trap == "link" else place.hardlink_to(tmp_path / "secret")
    )
    place.rename(tmp_path / "root/trap")
    swapping("out", "trap")
    seen = {"file": 0, "refused": 0}
    while min(seen.values()) < 50:
        try:
            with root.open_file("out") as opened:
                assert opened.read(100, 0) == b"a picture"
            seen["file"] += 1
        except NotAFile:
            seen["refused"] += 1


def test_nothing_is_written_behind_a_folder_that_is_swapped_for_a_link(
    root: Folder, tmp_path: Path, swapping: Callable[[str, str], None]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "source").write_bytes(b"an input")
    (tmp_path / "root/run").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    swapping("run", "link")
    for _ in range(300):
        try:
            with root.folder("run") as folder:
                folder.copy_in(tmp_path / "source", "in.png", None)
        except OSError as error:
            assert error.errno in boundary.NO_FOLDER
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_is_made_in_the_place_of_whatever_is_there(root: Folder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root/file").touch()
    os.mkfifo(tmp_path / "root/pipe")
    for name in ("link", "file", "pipe", "new", "a"):
        with root.make(name, None):
            found = (tmp_path / "root" / name).lstat()
            assert stat.S_ISDIR(found.st_mode)
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o700
    with pytest.raises(FileExistsError):
        root.make_new("a", None)


def test_a_copy_is_a_new_file_and_writes_through_no_name(root: Folder, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"an input" * 100_000)
    (tmp_path / "root/in").symlink_to("../secret")
    (tmp_path / "root/twin").hardlink_to(tmp_path / "secret")
    for name in ("in", "twin", "new"):
        root.copy_in(tmp_path / "source", name, None)
        assert (tmp_path / "root" / name).read_bytes() == b"an input" * 100_000
        assert (tmp_path / "root" / name).lstat().st_mode == stat.S_IFREG | 0o640
    assert (tmp_path / "secret").read_bytes() == SECRET


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_only_what_was_made_here_is_given_away(root: Folder, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    with root.make("run", 61234) as folder:
        folder.copy_in(tmp_path / "source", "in", 61234)
    assert {(tmp_path / "root" / name).stat().st_uid for name in ("run", "run/in")} == {61234}
    assert {(tmp_path / name).stat().st_uid for name in ("source", "secret", "root", "root/a")} == {0}


def test_a_tree_goes_whatever_is_in_it_and_nothing_outside(root: Folder, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/x").touch()
    top = tmp_path / "root/a"
    (top / "link").symlink_to(tmp_path / "precious")
    (top / "twin").hardlink_to(tmp_path / "secret")
    os.mkfifo(top / "pipe")
    (top / "b/c").mkdir(parents=True)
    (top / "b/c/x").touch()
    (top / "b/closed").mkdir()
    (top / "b/closed/x").touch()
    for closed in ("b/closed", "b"):
        (top / closed).chmod(0)
    for name in ("a", "nothing"):
        root.remove(name, Budget())
    assert not top.exists()
    assert (tmp_path / "precious/x").exists()
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_a_tree_that_is_deeper_than_any_path_goes(root: Folder, tmp_path: Path) -> None:
    held = os.open(tmp_path / "root/a", os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=held)
        below = os.open("d", os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = below
    os.close(held)
    root.remove("a", Budget())
    assert not (tmp_path / "root/a").exists()


def test_removing_ends_with_its_budget(root: Folder, tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"root/a/{number}").touch()
    with pytest.raises(BudgetSpent):
        root.remove("a", Budget(entries=50))
    with pytest.raises(BudgetSpent):
        root.remove("a", Budget(seconds=-1.0))
    root.remove("a", Budget())
    assert not (tmp_path / "root/a").exists()


def test_a_kernel_without_openat2_is_walked_folder_by_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boundary, "_SYS_OPENAT2", 99999)
    opener = boundary._Opener()
    assert not opener.is_one_call
    (tmp_path / "x").touch()
    with Folder.at(tmp_path) as folder:
        os.close(opener(folder.descriptor, "./x", os.O_RDONLY))
        with pytest.raises(OSError) as outside:
            opener(folder.descriptor, "../x", os.O_RDONLY)
    assert outside.value.errno == errno.EXDEV
