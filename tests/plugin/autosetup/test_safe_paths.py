from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin.autosetup.safe_paths import PathRefused, inside, is_pickle, model_parts, pack_name

BAD_NAMES = [
    "../x.safetensors", "a/../../x.safetensors", "..\\x.safetensors", "/etc/x.safetensors", "C:\\x.safetensors",
    "C:x.safetensors", "x.safetensors\0.py", "x.safetensors.", "x.safetensors ", ".hidden.safetensors",
    "-x.safetensors",
    "con.safetensors", "LPT1", "x\n.safetensors", "x\u202etxt.safetensors", "a//b.safetensors", "./x.safetensors",
    "x\ud800.safetensors", "x:stream.safetensors", "a/b/c/d/e/f/g.safetensors", "é" * 150, "~x.safetensors",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(PathRefused):
        model_parts("loras", name)
    with pytest.raises(PathRefused):
        model_parts(f"loras/{name}", "x.safetensors")


@pytest.mark.parametrize(
    ("directory", "name"), [(None, "x"), ("loras", None), ("", "x"), ("loras", ""), (["loras"], "x")]
)
def test_what_is_no_text_is_refused(directory: object, name: object) -> None:
    with pytest.raises(PathRefused):
        model_parts(directory, name)


def test_folders_below_a_kind_are_fine() -> None:
    assert model_parts("loras/style", "one\\Two v1.0.safetensors") == (
        "loras",
        PurePosixPath("style/one/Two v1.0.safetensors"),
    )


@given(st.text(max_size=30), st.text(max_size=60))
def test_nothing_that_passes_leaves_its_folder(directory: str, name: str) -> None:
    try:
        kind, relative = model_parts(directory, name)
    except PathRefused:
        return
    assert "/" not in kind
    assert not relative.is_absolute()
    assert ".." not in relative.parts
    assert "\\" not in str(relative)


@pytest.mark.parametrize(
    "path", ["", "/", "..", "/a/..", "/a/.git", "/a/x.disabled", "/a/__init__.py", "/a/nul", "/-x", "/a b", "/a/x."]
)
def test_addresses_that_make_no_folder_are_refused(path: str) -> None:
    with pytest.raises(PathRefused):
        pack_name(path)


def test_a_pack_is_named_after_its_repository() -> None:
    assert pack_name("/owner/ComfyUI-Some_Pack.git/") == "ComfyUI-Some_Pack"


def test_formats() -> None:
    assert is_pickle("a.CKPT")
    assert not is_pickle("a.safetensors")
    for name in ("a.py", "a.exe", "a", "a.safetensors.py", "a.so", "a.js"):
        with pytest.raises(PathRefused, match="format of models"):
            is_pickle(name)


def test_links_that_lead_out_are_not_followed_and_nothing_is_overwritten(tmp_path: Path) -> None:
    disk, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    for folder in (disk / "sub", elsewhere):
        folder.mkdir(parents=True)
    (tmp_path / "loras").symlink_to(disk)  # a person's own link to another disk
    (disk / "out").symlink_to(elsewhere)
    (disk / "dangling.safetensors").symlink_to(tmp_path / "nothing")
    assert inside(tmp_path / "loras", PurePosixPath("sub/x.safetensors")) == disk / "sub/x.safetensors"
    with pytest.raises(PathRefused, match="link"):
        inside(tmp_path / "loras", PurePosixPath("out/x.safetensors"))
    with pytest.raises(PathRefused, match="overwritten"):
        inside(tmp_path / "loras", PurePosixPath("dangling.safetensors"))
