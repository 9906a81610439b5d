"""What pip is asked for, and what it then does."""

import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin.autosetup.commands import CommandFailed
from plugin.autosetup.packages import install, installer, is_plain, read_requirements

PLAIN = ["numpy", "numpy>=1.2,<3", "opencv-python-headless", "foo[bar,baz]==1.0", "a~=1.0 ; python_version < '3.12'",
         "b (>=1.0)", "c===1.0+cpu", "d >= 2.*", "e!=1"]  # fmt: skip
NOT_PLAIN = ["-r other.txt", "--index-url https://evil.example", "-e .", "git+https://github.com/a/b", "./local",
             "foo @ https://evil.example/foo.whl", "https://evil.example/foo.whl", "foo==${SECRET}",
             "foo --hash=sha256:x",
             "foo; import os", "$(touch x)", "foo==1 --global-option=x", "../up", "C:\\x.whl",
             "-c constraints.txt", "foo.whl/", "foo.whl", "Evil-1.0.tar.gz", "foo.zip==1"]  # fmt: skip


@pytest.mark.parametrize("line", PLAIN)
def test_names_and_versions_are_plain(line: str) -> None:
    assert is_plain(line)


@pytest.mark.parametrize("line", NOT_PLAIN)
def test_everything_else_is_left_out(line: str) -> None:
    found = read_requirements(f"numpy\n{line}\n")
    assert found.plain == ("numpy",)
    assert found.left_out == (line,)


def test_comments_continuations_and_repetitions() -> None:
    text = "\ufeff# a comment\r\nnumpy  # why\n\nnumpy\nfoo \\\n --hash=sha256:x\nbar\\\n>=1\n"
    found = read_requirements(text)
    assert found.plain == ("numpy", "bar >=1")
    assert found.left_out == ("foo   --hash=sha256:x",)


def test_a_long_file_ends_somewhere() -> None:
    found = read_requirements("\n".join(f"p{number}" for number in range(5000)))
    assert len(found.plain) == len(found.left_out) == 300


def wheel(folder: Path, name: str, version: str) -> None:
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as made:
        made.writestr(f"{name}.py", f"VERSION = '{version}'\n")
        made.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        made.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        made.writestr(f"{info}/RECORD", "")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python of its own; another one's pip installs for it, because copying pip there takes long."""
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    return tmp_path / "venv/bin/python"


def test_pip_installs_the_approved_lines_and_never_another_torch(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", "runflow_example", version)
    wheel(tmp_path / "wheels", "torch", "99.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    told: list[str] = []
    own = installer(str(python), str(tmp_path / "venv"))
    assert own[:4] == [str(python), "-m", "pip", "install"]
    command = [sys.executable, "-m", "pip", "--python", *own[:1], *own[3:]]
    install(["runflow-example<2"], threading.Event(), told.append, command)
    asked = [str(python), "-c", "import runflow_example; print(runflow_example.VERSION)"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == "1.0"
    assert any("Successfully installed" in text for text in told)

    monkeypatch.setattr("plugin.autosetup.packages._kept", lambda: ["torch==2.0"])
    with pytest.raises(CommandFailed, match="torch"):
        install(["torch>=99"], threading.Event(), told.append, command)


def test_uv_installs_where_it_made_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\nuv = 0.5.0\n")
    found: Callable[[str], str | None] = lambda name: f"/bin/{name}"  # noqa: E731
    monkeypatch.setattr("plugin.autosetup.packages.shutil.which", found)
    assert installer("PYTHON", str(tmp_path)) == ["/bin/uv", "pip", "install", "--no-progress", "--python", "PYTHON"]
    monkeypatch.setattr("plugin.autosetup.packages.shutil.which", lambda _name: None)
    assert installer("PYTHON", str(tmp_path))[:4] == ["PYTHON", "-m", "pip", "install"]
    (tmp_path / "pyvenv.cfg").write_text("home = /usr\n")
    assert "pip" in installer("PYTHON", str(tmp_path))
