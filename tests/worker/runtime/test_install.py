"""Installing without a network: a small tree from a local repository and tiny wheels, with pip and with uv."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runflow.worker.runtime import install as install_module
from runflow.worker.runtime.commands import Declined, InstallError
from runflow.worker.runtime.environment import Environment, find_uv, missing_venv_advice
from runflow.worker.runtime.install import InstallAsk, Installed, install
from runflow.worker.runtime.record import is_usable, read_record, unfinished
from runflow.worker.runtime.report import LogReporter
from runflow.worker.runtime.source import SourceAsk
from runflow.worker.runtime.torch_build import Build
from tests.support.comfyui_trees import make_repository
from tests.support.tiny_wheels import make_torch
from tests.worker.runtime.conftest import CopyEnvironment, put_environment

NEEDS = "aiohttp\ntransformers\nsafetensors\ntorch\n"


class Notes(LogReporter):
    """A reporter that keeps what it is told."""

    def __init__(self, *, agree: bool = False) -> None:
        super().__init__(agree=agree)
        self.said: list[str] = []

    def step(self, text: str) -> None:
        self.said.append(text)

    def note(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place that packages come from, named in pip's settings."""
    folder = tmp_path / "links"
    make_torch(folder)
    take_packages_from(folder, monkeypatch)
    return folder


def take_packages_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the releases 1.0.0 and 1.1.0."""
    make_repository(tmp_path / "repository", "1.0.0", "1.1.0", requirements=NEEDS)
    return tmp_path / "repository"


def ask(tmp_path: Path, repository: Path, version: str | None = None) -> InstallAsk:
    return InstallAsk(tmp_path / "comfy", SourceAsk(version=version, source=str(repository)), Build.CPU)


@pytest.fixture
def with_pip(tmp_path: Path, copy_environment: CopyEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """No uv on this machine, and the environment made already."""
    monkeypatch.setattr(install_module, "find_uv", lambda: None)
    copy_environment(tmp_path / "comfy")


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_first_installation_a_second_and_a_newer_version(
    tool: str, tmp_path: Path, links: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool == "uv" and find_uv() is None:
        pytest.skip("uv is not installed on this machine")
    if tool == "pip":
        monkeypatch.setattr(install_module, "find_uv", lambda: None)
    notes = Notes()
    first = install(ask(tmp_path, repository, "1.0.0"), notes)
    assert first.fresh
    assert (first.record.version, first.record.source) == ("1.0.0", "git")
    assert (first.record.torch, first.record.torch_origin) == ("2.13.0+cpu", "find-links")
    assert (first.record.torchvision, first.record.torchaudio) == ("0.28.0", "2.11.0")
    assert not first.record.compatibility_module
    assert read_record(first.directory) == first.record
    assert is_usable(first.directory)
    assert any("GB on disk" in line and str(first.directory) in line for line in notes.said)
    assert subprocess.run([first.python, "-c", "import torch, aiohttp, requests"], check=False).returncode == 0

    (first.directory / "models").mkdir()
    (first.directory / "models/mine").write_text("mine")
    notes.said.clear()
    second = install(InstallAsk(first.directory), notes)
    assert not second.fresh
    assert second.record == first.record
    assert notes.said == [f"Verifying ComfyUI 1.0.0 in {first.directory}"]

    third = install(ask(tmp_path, repository, "1.1.0"), notes)
    assert third.record.version == "1.1.0"
    assert (third.directory / "main.py").read_text() == "# 1.1.0\n"
    assert (third.directory / "models/mine").read_text() == "mine"


@pytest.fixture(scope="module")
def finished(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository, wheels, and the installation of one from the other."""
    folder = tmp_path_factory.mktemp("finished")
    make_torch(folder / "links")
    make_repository(folder / "repository", "1.0.0", requirements=NEEDS)
    put_environment(environment, folder / "comfy")
    with pytest.MonkeyPatch.context() as monkeypatch:
        take_packages_from(folder / "links", monkeypatch)
        monkeypatch.setattr(install_module, "find_uv", lambda: None)
        assert install(ask(folder, folder / "repository"), Notes()).fresh
    return folder


@pytest.fixture
def installed(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallAsk:
    """What a finished installation was asked for, which has been moved into the test's own folder."""
    take_packages_from(finished / "links", monkeypatch)
    monkeypatch.setattr(install_module, "find_uv", lambda: None)
    shutil.copytree(finished / "comfy", tmp_path / "comfy", symlinks=True)
    return ask(tmp_path, finished / "repository")


def test_a_damaged_environment_is_made_anew(installed: InstallAsk) -> None:
    shutil.rmtree(next(installed.directory.glob(".venv/lib/*/site-packages/torchaudio")))
    notes = Notes()
    repaired = install(installed, notes)
    assert repaired.fresh
    assert any("does not work any more" in line for line in notes.said)
    assert not install(installed, Notes()).fresh


KILLED = """
import os, signal, sys, threading
from pathlib import Path
import runflow.worker.runtime.install as module
from runflow.worker.runtime.report import LogReporter
from runflow.worker.runtime.source import SourceAsk
from runflow.worker.runtime.torch_build import Build

class Stages(module._Stages):
    def mark(self, stage, fingerprint):
        super().mark(stage, fingerprint)
        if stage == "torch" and fingerprint:
            threading.Timer(0.2, os.killpg, (os.getpid(), signal.SIGKILL)).start()

module._Stages = Stages
module.find_uv = lambda: None
module.install(module.InstallAsk(Path(sys.argv[1]), SourceAsk(source=sys.argv[2]), Build.CPU), LogReporter())
"""
"""An installation that is killed, and what it started, while it installs what ComfyUI requires besides torch."""


@pytest.mark.usefixtures("with_pip")
def test_a_killed_installation_goes_on_where_it_stopped(tmp_path: Path, links: Path, repository: Path) -> None:
    directory = tmp_path / "comfy"
    command = [sys.executable, "-c", KILLED, str(directory), str(repository)]
    ended = subprocess.run(command, start_new_session=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert unfinished(directory)
    assert not is_usable(directory)

    shutil.rmtree(repository)  # what is there is not fetched again
    resumed = install(InstallAsk(directory, SourceAsk(source=str(repository)), Build.CPU), Notes())
    assert resumed.record.version == "1.1.0"
    assert is_usable(directory)


def test_two_installations_of_one_folder_wait_for_each_other(installed: InstallAsk) -> None:
    lock = installed.directory / ".runflow/install.lock"
    code = (
        "import fcntl, os, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX)\n"
        "f.truncate(0); f.write(str(os.getpid())); f.flush(); print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()

    class Release(Notes):
        def note(self, text: str) -> None:
            super().note(text)
            holder.communicate()

    notes = Release()
    assert not install(installed, notes).fresh
    assert any(f"process {holder.pid}" in line for line in notes.said)


@pytest.mark.usefixtures("with_pip")
def test_without_a_torch_that_fits_nothing_large_is_downloaded_unasked(
    tmp_path: Path, links: Path, repository: Path
) -> None:
    next(links.glob("torch-*")).unlink()
    with pytest.raises(Declined, match=r"GB of downloads.*--yes"):
        install(ask(tmp_path, repository), Notes())


@pytest.mark.usefixtures("with_pip")
def test_a_cpu_wheel_is_not_taken_for_a_gpu_machine(tmp_path: Path, links: Path, repository: Path) -> None:
    notes = Notes()
    with pytest.raises(Declined):
        install(InstallAsk(tmp_path / "comfy", SourceAsk(source=str(repository)), Build.CUDA), notes)
    assert any("not a cuda build" in line for line in notes.said)


@pytest.mark.usefixtures("with_pip")
def test_a_torch_that_does_not_import_is_an_error_with_its_reason(
    tmp_path: Path, links: Path, repository: Path
) -> None:
    make_torch(links, code="raise ImportError('libgomp is missing')")
    with pytest.raises(InstallError, match="libgomp is missing"):
        install(ask(tmp_path, repository), Notes())
    assert not is_usable(tmp_path / "comfy")


@pytest.mark.usefixtures("with_pip")
def test_a_missing_requirement_names_itself(tmp_path: Path, links: Path) -> None:
    make_repository(tmp_path / "repository", "1.0.0", requirements="no-such-package==1\n")
    with pytest.raises(InstallError, match=r"no-such-package"):
        install(ask(tmp_path, tmp_path / "repository"), Notes())


def test_folders_of_others_stay_untouched(tmp_path: Path, repository: Path) -> None:
    before = sorted(repository.iterdir())
    with pytest.raises(InstallError, match="RUNFLOW_COMFYUI"):
        install(InstallAsk(repository), Notes())
    assert sorted(repository.iterdir()) == before
    with pytest.raises(InstallError, match="not empty"):
        install(InstallAsk(tmp_path), Notes())
    (tmp_path / "file").write_text("")
    with pytest.raises(InstallError, match="is a file"):
        install(InstallAsk(tmp_path / "file"), Notes())


def test_a_full_disk_is_found_out_before(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10**9})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InstallError, match=r"1\.0 GB of free disk"):
        install(ask(tmp_path, repository), Notes())


def test_a_python_without_venv_names_the_package_to_install() -> None:
    assert "uv" in missing_venv_advice()


@pytest.mark.e2e
def test_the_real_installation_says_what_it_is(comfyui_dir: Path) -> None:
    record = read_record(comfyui_dir)
    if record is None:
        pytest.skip(f"{comfyui_dir} was not installed by Runflow")
    again: Installed = install(InstallAsk(comfyui_dir), Notes())
    assert not again.fresh
    code = (
        "import torch, torchvision, torchaudio\n"
        "print(torch.__version__)\n"
        "assert torchaudio.functional.resample(torch.zeros(1, 441), 44100, 16000).shape == (1, 160)\n"
        "assert torchvision.transforms.Resize(4)(torch.zeros(3, 8, 8)).shape == (3, 4, 4)"
    )
    said = subprocess.run([again.python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == record.torch
