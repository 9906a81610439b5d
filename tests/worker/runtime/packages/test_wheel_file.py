"""Wheels as a build may leave them: which are taken, and what is said of the others."""

import stat
import zipfile
from pathlib import Path

import pytest

from runflow.worker.runtime.packages.wheel_file import WheelRefused, check_wheel, same_name, same_version

NAME = "some_thing-1.0-py3-none-any.whl"
INFO = "some_thing-1.0.dist-info"
GOOD = {
    "some_thing.py": "",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: Some-Thing\nVersion: 1.0\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\n",
    f"{INFO}/RECORD": "",
}


def made(folder: Path, files: dict[str, str], name: str = NAME) -> Path:
    """Write an archive."""
    path = folder / name
    with zipfile.ZipFile(path, "w") as wheel:
        for place, text in files.items():
            wheel.writestr(place, text)
    return path


def test_a_good_one_is_taken(tmp_path: Path) -> None:
    wheel = made(tmp_path, GOOD)
    check_wheel(wheel, "some.thing", "1.0.0")
    check_wheel(wheel, "Some_Thing", None)
    check_wheel(made(tmp_path, GOOD, "some_thing-1.0-2-cp311-cp311-manylinux_2_17_x86_64.whl"), "some-thing", "1")


BAD = {
    "another's name": (GOOD | {f"{INFO}/METADATA": "Name: other\nVersion: 1.0\n"}, "not 'some-thing'"),
    "another version": (GOOD | {f"{INFO}/METADATA": "Name: some-thing\nVersion: 2\n"}, "not '1.0'"),
    "an address": (
        GOOD | {f"{INFO}/METADATA": GOOD[f"{INFO}/METADATA"] + "Requires-Dist: evil @ https://example.com/evil.whl\n"},
        "names an address",
    ),
    "two of them": (GOOD | {"y-1.0.dist-info/METADATA": ""}, "must have one"),
    "none": ({"x.py": ""}, "must have one"),
    "another's folder": ({place.replace("some_", "other_"): text for place, text in GOOD.items()}, "another one's"),
    "no record": ({place: text for place, text in GOOD.items() if "RECORD" not in place}, "has no"),
    "a way out": (GOOD | {"a/../../x.py": ""}, "not acceptable"),
    "a way out of Windows": (GOOD | {"a\\..\\..\\x.py": ""}, "not acceptable"),
    "a drive": (GOOD | {"C:x.py": ""}, "not acceptable"),
    "an absolute path": (GOOD | {"/etc/x": ""}, "not acceptable"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_one_is_refused(tmp_path: Path, bad: str) -> None:
    files, said = BAD[bad]
    with pytest.raises(WheelRefused, match=said):
        check_wheel(made(tmp_path, files), "some-thing", "1.0")


def test_a_link_in_it_is_refused(tmp_path: Path) -> None:
    wheel = made(tmp_path, GOOD)
    with zipfile.ZipFile(wheel, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(WheelRefused, match="neither a file nor a folder"):
        check_wheel(wheel, "some-thing", "1.0")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    wheel = made(tmp_path, GOOD | {"long": "x" * 5000})
    whole = wheel.read_bytes()
    for content in (b"", b"x", whole[:-40], whole.replace(b"xxx", b"xyx")):
        wheel.write_bytes(content)
        with pytest.raises(WheelRefused, match="no whole archive"):
            check_wheel(wheel, "some-thing", "1.0")


@pytest.mark.parametrize("name", ["x.whl", "some_thing-1.0.whl", "a b-1.0-py3-none-any.whl", "some_thing-1.0.tar.gz"])
def test_a_name_that_is_no_wheel_s_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WheelRefused, match="not named like a wheel"):
        check_wheel(made(tmp_path, GOOD, name), "some-thing", "1.0")


def test_names_and_versions_have_more_than_one_spelling() -> None:
    assert same_name("Foo.bar__baz", "foo-bar-baz")
    assert not same_name("foo", "foo2")
    for one, other in (
        *(("1.0", "1"), ("1.0.0", "1.0"), ("v1.0", "1.0"), ("1.0-alpha.1", "1.0a1"), ("1.0c1", "1.0rc1")),
        *(("1.0.post1", "1.0-post1"), ("1.0.dev3", "1.0dev3"), ("1.0+CU-118", "1.0+cu.118"), ("1!2.0", "1!2")),
    ):
        assert same_version(one, other), (one, other)
    for one, other in (("1.0", "1.1"), ("1.0", "1.0rc1"), ("1.0", "1.0+cpu"), ("10", "1"), ("1!2", "2"), ("100", "1")):
        assert not same_version(one, other), (one, other)
