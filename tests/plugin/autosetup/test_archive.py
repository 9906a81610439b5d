import io
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from plugin.autosetup import archive as module
from plugin.autosetup.archive import ArchiveRefused, unpack
from plugin.cancellation import Cancelled
from tests.support.autosetup_hosts import tar


def zipped(files: dict[str, bytes], **links: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
        for name, target in links.items():
            row = zipfile.ZipInfo(name)
            row.external_attr = (stat.S_IFLNK | 0o777) << 16
            opened.writestr(row, target)
    return made.getvalue()


def unpacked(content: bytes, tmp_path: Path, cancelled: threading.Event | None = None) -> list[str]:
    (tmp_path / "archive").write_bytes(content)
    return unpack(tmp_path / "archive", tmp_path / "out", cancelled or threading.Event())


@pytest.mark.parametrize("make", [lambda files: tar(**files), zipped])
def test_the_one_folder_of_all_files_is_left_away(make: object, tmp_path: Path) -> None:
    files = {"pack-abc/__init__.py": b"1", "pack-abc/.github/x.yml": b"2", "pack-abc/web/a.js": b"3"}
    assert unpacked(make(files), tmp_path) == [".github/x.yml", "__init__.py", "web/a.js"]  # type: ignore[operator]
    assert (tmp_path / "out/web/a.js").read_bytes() == b"3"


def test_files_beside_each_other_stay_where_they_are(tmp_path: Path) -> None:
    assert unpacked(zipped({"__init__.py": b"1", "web/a.js": b"3"}), tmp_path) == ["__init__.py", "web/a.js"]


@pytest.mark.parametrize(
    "name",
    [
        "../x.py",
        "a/../../x.py",
        "/etc/x.py",
        "//x.py",
        "///etc/x.py",
        "\\\\x.py",
        "C:/x.py",
        "a\\..\\..\\x.py",
        "a/con",
        "a/x:y",
        "x/.git/config",
    ],
)
def test_paths_that_lead_out_refuse_the_archive(name: str, tmp_path: Path) -> None:
    for number, content in enumerate((tar(**{"a/ok.py": b"1", name: b"2"}), zipped({"a/ok.py": b"1", name: b"2"}))):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ArchiveRefused):
            unpacked(content, tmp_path / str(number))
    assert not list(tmp_path.rglob("x.py"))
    assert not list(tmp_path.rglob("config"))


def test_two_slashes_do_not_lead_to_the_root(tmp_path: Path) -> None:
    """A path of two slashes is absolute, and its first part is neither / nor empty."""
    place = f"/{tmp_path}/owned.py"
    with pytest.raises(ArchiveRefused):
        unpacked(tar(**{"a/ok.py": b"1", place: b"2"}), tmp_path)
    assert not (tmp_path / "owned.py").exists()


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as opened:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            row = tarfile.TarInfo(f"a/{kind.decode()}")
            row.type, row.linkname = kind, "/etc/passwd"
            opened.addfile(row)
        row = tarfile.TarInfo("a/ok.py")
        opened.addfile(row)
    assert unpacked(made.getvalue(), tmp_path) == ["ok.py"]
    other = tmp_path / "zip"
    other.mkdir()
    assert unpacked(zipped({"a/ok.py": b"1"}, **{"a/link": "/etc/passwd"}), other) == ["ok.py"]


def test_a_name_that_comes_twice_refuses_the_archive(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="twice"):
        unpacked(zipped({"a/X.py": b"1", "a/x.py": b"2"}), tmp_path)


def test_bombs_and_broken_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 1000)
    good = tar(**{"a/x.py": b"1" * 500})
    cases = [tar(**{"a/x.py": b"0" * 1001}), tar(**{f"a/{n}.py": b"0" * 400 for n in range(3)})]
    cases += [zipped({"a/x": b"0" * 1001}), good[:-20], good[:50], b"PK\x03\x04 no", b"text", b""]
    for number, content in enumerate(cases):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(ArchiveRefused):
            unpacked(content, tmp_path / str(number))


def test_cancel(tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        unpacked(tar(**{"a/x.py": b"1"}), tmp_path, cancelled)
