"""Wheels from sources of strangers, whose build code does what it should not; and what is said when that fails."""

import ensurepip
import os
import socket
import sys
import tarfile
import textwrap
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from runflow.worker.runtime.confined.confined import Limits
from runflow.worker.runtime.environment import find_uv
from runflow.worker.runtime.packages.wheel_file import WheelRefused
from runflow.worker.runtime.packages.wheels import WheelBuildFailed, build_requirements, build_wheel, take_wheel
from tests.support.shut_in import named
from tests.worker.runtime.bench import SMALL, Bench

BACKEND = """
import os, sys, zipfile
def write(folder, name="x", version="1.0", **more):
    file = f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(os.path.join(folder, file), "w") as wheel:
        wheel.writestr("x.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/RECORD", "")
        for path, text in more.items():
            wheel.writestr(path, text)
    return file
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
GOOD = "return write(wheel_directory)"


def source_of(folder: Path, body: str, pyproject: str = PYPROJECT) -> Path:
    """Write a source tree whose build runs this."""
    tree = folder / "tree"
    tree.mkdir()
    (tree / "pyproject.toml").write_text(pyproject)
    (tree / "backend.py").write_text(BACKEND + textwrap.indent(textwrap.dedent(body), "    "))
    return tree


async def built(
    bench: Bench,
    source: Path,
    *,
    name: str = "x",
    version: str | None = "1.0",
    limits: Limits = SMALL,
    uv: bool = False,
) -> Path:
    """Build it."""
    links, into = bench.folder / "links", bench.folder / "wheels"
    for folder in (links, into):
        folder.mkdir(exist_ok=True)
    return await build_wheel(
        source,
        name=name,
        version=version,
        python=Path(sys.executable),
        uv=find_uv() if uv else None,
        build_requires_wheels=links,
        into=into,
        limits=limits,
        log=bench.log,
        sandbox=bench.sandbox,
    )


async def refused(bench: Bench, body: str, step: str, limits: Limits = SMALL) -> str:
    """Build it, see that it fails at this step and leaves nothing, and return what is said."""
    with pytest.raises(WheelBuildFailed, match=f"failed at the step `{step}`") as failed:
        await built(bench, source_of(bench.folder, body), limits=limits)
    assert failed.value.step == step
    assert not list((bench.folder / "wheels").iterdir())
    assert not list(bench.folder.glob(".wheel-*"))
    return str(failed.value)


@pytest.mark.parametrize("tool", ["pip", pytest.param("uv", marks=pytest.mark.optional)])
async def test_a_wheel_of_a_tree_and_of_an_archive(best: Bench, tool: str) -> None:
    if tool == "uv" and find_uv() is None:
        pytest.skip("there is no uv here")
    tree = source_of(best.folder, GOOD)
    wheel = await built(best, tree, uv=tool == "uv")
    assert wheel == best.folder / "wheels" / "x-1.0-py3-none-any.whl"
    assert wheel.stat().st_uid == os.geteuid()
    archive = best.folder / "x-1.0.tar.gz"
    (tree / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: x\nVersion: 1.0\n")
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tree, "x-1.0")
    wheel.unlink()
    assert await built(best, archive, version="1.0.0", uv=tool == "uv") == wheel
    assert not list(best.folder.glob(".wheel-*"))


async def test_setup_py_runs_with_the_wheels_that_it_is_given(best: Bench) -> None:
    """What it does there is its own: the host's file that it looks for is not there."""
    bundled = list((Path(ensurepip.__file__).parent / "_bundled").glob("setuptools-*.whl"))
    if not bundled:
        pytest.skip("this Python brings no setuptools along")
    (best.folder / "links").mkdir()
    (best.folder / "links" / bundled[0].name).write_bytes(bundled[0].read_bytes())
    (best.folder / "token").write_text("secret")
    pyproject = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    tree = source_of(best.folder, "pass", pyproject)
    (tree / "setup.py").write_text(
        f"import os, setuptools\nprint('setup.py runs, and sees', os.path.exists({str(best.folder / 'token')!r}))\n"
        "raise SystemExit(9)\n"
    )
    with pytest.raises(WheelBuildFailed):
        await built(best, tree)
    assert "setup.py runs, and sees False" in best.log.read_text()


async def test_a_requirement_that_was_not_fetched_is_named(best: Bench) -> None:
    pyproject = PYPROJECT.replace("[]", '["not-there-at-all>=3"]', 1)
    with pytest.raises(WheelBuildFailed, match="not-there-at-all") as failed:
        await built(best, source_of(best.folder, GOOD, pyproject))
    assert failed.value.step == "build"


async def test_what_it_looks_for_is_not_there(best: Bench) -> None:
    other = best.folder / "runtimes" / "other"
    other.mkdir(parents=True)
    for place in (best.folder / "token", other / "build.json"):
        place.write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        body = f"""
            import pathlib, socket
            got = []
            for place in ({str(best.folder / "token")!r}, {str(other / "build.json")!r}, "/proc/1/environ",
                          {str(Path(__file__))!r}, {str(Path("~/.profile").expanduser())!r}, "/etc/shadow"):
                try: got += [place] if pathlib.Path(place).read_bytes() else []
                except OSError: pass
            for host, port in (("127.0.0.1", {server.getsockname()[1]}), ("169.254.169.254", 80), ("10.0.0.1", 80),
                               ("1.1.1.1", 53)):
                try: socket.create_connection((host, port), 5); got.append(host)
                except OSError: pass
            try: socket.getaddrinfo("example.com", 80); got.append("name")
            except OSError: pass
            for place in ({str(best.folder / "left")!r}, {str(other / "left")!r}, "/usr/left", "/etc/left",
                          {str(best.folder / "wheels" / "y-1.0-py3-none-any.whl")!r}):
                try: open(place, "w"); got.append(place)
                except OSError: pass
            assert not got, got
            return write(wheel_directory)
        """
        await built(best, source_of(best.folder, body))
    assert sorted(path.name for path in best.folder.iterdir()) == [
        *("build.log", "links", "runtimes", "token", "tree", "wheels"),
    ]


async def test_a_daemon_does_not_outlive_it(best: Bench) -> None:
    body = f"""
        word = {best.folder.name!r}
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for stream in (0, 1, 2): os.dup2(os.open(os.devnull, os.O_RDWR), stream)
                os.closerange(3, 4096)
                os.execv(sys.executable, [sys.executable, "-c", f"import time; time.sleep(600)  # {{word}}"])
            os._exit(0)
        return write(wheel_directory)
    """
    await built(best, source_of(best.folder, body))
    assert not named(best.folder.name)


FLOODS = {
    "disk": (
        "bytes.",
        "for n in range(99): open(f'{n}', 'wb').write(os.urandom(8 << 20))\nimport time; time.sleep(600)",
    ),
    "memory": ("MemoryError", "held = bytearray(1 << 40)"),
    "processes": (
        "BlockingIOError",
        """
        import signal, time
        made = []
        try:
            while True:
                made.append(os.fork())
                if made[-1] == 0: time.sleep(600)
        except BlockingIOError:  # its tool waits for the end of all who have its output
            for process in made: os.kill(process, signal.SIGKILL)
            raise
        """,
    ),
    "time": ("It took longer", "import time; time.sleep(600)"),
}


@pytest.mark.parametrize("what", FLOODS)
async def test_what_takes_too_much_is_ended(best: Bench, what: str) -> None:
    said, body = FLOODS[what]
    limits = replace(SMALL, seconds=8.0 if what == "time" else 120.0)
    assert said in await refused(best, body, "build", limits)


LIES = {
    "another project": ("not 'x'", "return write(wheel_directory, 'y')"),
    "another version": ("not '1.0'", "return write(wheel_directory, 'x', '2.0')"),
    "a path out": ("not acceptable", "return write(wheel_directory, **{'../../x.py': ''})"),
    "an absolute path": ("not acceptable", "return write(wheel_directory, **{'/etc/x': ''})"),
    "a hole in it": (
        "no whole archive",
        """
        name = write(wheel_directory, long="x" * 5000)
        with open(os.path.join(wheel_directory, name), "r+b") as file:
            file.seek(3000); file.write(b"yyy")
        return name
        """,
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_wheel_that_is_not_the_asked_one_is_refused(best: Bench, lie: str) -> None:
    said, body = LIES[lie]
    assert said in await refused(best, body, "wheel")


LEFT = {
    "a link": ("It is a link", "os.symlink('/etc/passwd', f'{out}/x-1.0-py3-none-any.whl')"),
    "a pipe": ("a named pipe", "os.mkfifo(f'{out}/x-1.0-py3-none-any.whl')"),
    "a second file": ("2 files", "write(out); write(out, 'y')"),
    "nothing": ("0 files", "pass"),
    "a folder that is a link": ("cannot be taken", "os.rmdir(out); os.symlink('/etc', out)"),
}


@pytest.mark.parametrize("left", LEFT)
async def test_what_is_no_wheel_is_not_taken(best: Bench, left: str) -> None:
    """A backend may write to the folder of wheels itself, and have its tool end without an error."""
    said, body = LEFT[left]
    tree = source_of(best.folder, "pass")

    work = best.work
    (work / "dist").mkdir()
    code = f"out = 'dist'\nimport os, sys; sys.path.insert(0, {str(tree)!r}); from backend import write\n{body}"
    result = await best.run(code, readable=[tree])
    assert result.is_good, result.tail
    into = best.folder / "wheels"
    into.mkdir()
    with pytest.raises(WheelRefused, match=said):
        take_wheel(work, "x", "1.0", into)
    assert not list(into.iterdir())


def test_requirements_are_read_by_descriptor_and_bounded(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    assert build_requirements(tree) == ["setuptools", "wheel"]
    pyproject = tree / "pyproject.toml"
    pyproject.write_text("[project]\nname = 'x'\n")
    assert build_requirements(tree) == ["setuptools", "wheel"]
    pyproject.write_text("[build-system]\nrequires = ['hatchling>=1,<2', 'x[y] ; python_version > \"3\"']\n")
    wanted = ["hatchling>=1,<2", 'x[y] ; python_version > "3"']
    assert build_requirements(tree) == wanted
    for suffix, how in (("tar.gz", "w:gz"), ("tar.bz2", "w:bz2"), ("tar.xz", "w:xz")):
        with tarfile.open(tmp_path / f"x-1.0.{suffix}", how) as archive:  # type: ignore[call-overload]
            archive.add(tree, "x-1.0")
        assert build_requirements(tmp_path / f"x-1.0.{suffix}") == wanted
    with zipfile.ZipFile(tmp_path / "x-1.0.zip", "w") as archive:
        archive.write(pyproject, "x-1.0/pyproject.toml")
    assert build_requirements(tmp_path / "x-1.0.zip") == wanted
    pyproject.unlink()
    pyproject.symlink_to("/etc/passwd")
    with pytest.raises(WheelBuildFailed, match="It is a link"):
        build_requirements(tree)


@pytest.mark.parametrize(
    "content",
    [
        "requires = ['--index-url=http://elsewhere']",
        "requires = ['x @ http://elsewhere/x.whl']",
        "requires = ['git+https://elsewhere/x.git']",
        "requires = ['https://elsewhere/x.tar.gz']",
        "requires = ['file:///tmp/x']",
        "requires = ['tmp/x']",
        "requires = ['x.tar.gz']",
        "requires = ['x.whl']",
        "requires = ['../x']",
        "requires = ['.']",
        'requires = ["x\\n-i http://elsewhere"]',
        "requires = ['x --config-settings=--global-option=y']",
        "requires = [7]",
        "requires = 'x'",
        "requires = [" + "'x'," * 1000 + "]",
        "requires = " + "[" * 100_000,
        "requires = ['" + "x" * (2 << 20) + "']",
        "requires = [",
    ],
)
def test_a_requirement_is_a_package_of_the_index(tmp_path: Path, content: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[build-system]\n{content}\n")
    with pytest.raises(WheelBuildFailed) as failed:
        build_requirements(tmp_path)
    assert failed.value.step == "requirements"
