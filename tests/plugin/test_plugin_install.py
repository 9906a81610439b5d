import shutil
from pathlib import Path

import pytest

import runflow
from runflow.plugin_install import Action, PluginInstallError, install_plugin, plugin_source

CLONE = Path(__file__).resolve().parents[2]


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    """A folder that looks like a ComfyUI to the installer."""
    folder = tmp_path / "ComfyUI"
    (folder / "custom_nodes").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "folder_paths.py").touch()
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def refusal(folder: Path, *, link: bool = False) -> str:
    with pytest.raises(PluginInstallError) as raised:
        install_plugin(folder, link=link)
    return str(raised.value)


def test_the_source_is_the_clones_folder() -> None:
    assert plugin_source() == CLONE / "plugin"


def test_the_source_is_inside_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "runflow"
    shutil.copytree(CLONE / "plugin", package / "_plugin")
    monkeypatch.setattr(runflow, "__file__", str(package / "__init__.py"))
    assert plugin_source() == package / "_plugin"
    shutil.rmtree(package / "_plugin")
    with pytest.raises(PluginInstallError, match="files are missing"):
        plugin_source()


def test_a_copy_holds_the_whole_plugin_and_nothing_else(comfyui: Path) -> None:
    installed = install_plugin(comfyui)
    target = comfyui / "custom_nodes" / "ComfyUI-Runflow"
    assert (installed.target, installed.action) == (target, Action.COPIED)
    wanted = {name for name in files(CLONE / "plugin") if "__pycache__" not in name}
    assert files(target) == wanted | {".runflow-plugin"}
    assert list((comfyui / "custom_nodes").iterdir()) == [target]


def test_a_second_copy_replaces_the_first(comfyui: Path) -> None:
    target = install_plugin(comfyui).target
    (target / "left_over.py").touch()
    assert install_plugin(comfyui).action is Action.UPDATED
    assert not (target / "left_over.py").exists()
    assert list((comfyui / "custom_nodes").iterdir()) == [target]


def test_a_link_leads_to_the_source_and_can_be_repeated_and_replaced(comfyui: Path) -> None:
    installed = install_plugin(comfyui, link=True)
    assert installed.action is Action.LINKED
    assert installed.target.is_symlink()
    assert installed.target.resolve() == CLONE / "plugin"
    assert install_plugin(comfyui, link=True).action is Action.UNCHANGED
    assert install_plugin(comfyui).action is Action.UPDATED
    assert not installed.target.is_symlink()
    assert install_plugin(comfyui, link=True).action is Action.UPDATED
    assert installed.target.is_symlink()
    assert (CLONE / "plugin" / "__init__.py").is_file()


def test_a_dangling_link_is_replaced(comfyui: Path) -> None:
    target = comfyui / "custom_nodes" / "ComfyUI-Runflow"
    target.symlink_to(comfyui / "gone")
    assert install_plugin(comfyui).action is Action.UPDATED
    assert (target / "__init__.py").is_file()


def test_custom_nodes_is_made_in_a_real_comfyui_and_a_base_directory_will_do(comfyui: Path, tmp_path: Path) -> None:
    (comfyui / "custom_nodes").rmdir()
    assert install_plugin(comfyui).target.is_dir()
    (tmp_path / "base" / "custom_nodes").mkdir(parents=True)
    assert install_plugin(tmp_path / "base").target.is_dir()


def test_a_folder_that_is_no_comfyui_is_refused_and_left_alone(tmp_path: Path) -> None:
    assert "is not a folder" in refusal(tmp_path / "nowhere")
    assert "is not a ComfyUI" in refusal(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_others_put_there_is_refused_and_left_alone(comfyui: Path, tmp_path: Path) -> None:
    target = comfyui / "custom_nodes" / "ComfyUI-Runflow"
    (target / ".git").mkdir(parents=True)
    assert "is a git clone" in refusal(comfyui)
    (target / ".git").rmdir()
    (target / "mine.py").touch()
    assert "was not made by" in refusal(comfyui, link=True)
    assert files(target) == {"mine.py"}
    shutil.rmtree(target)
    (tmp_path / "elsewhere").mkdir()
    target.symlink_to(tmp_path / "elsewhere")
    assert "which is not this plugin" in refusal(comfyui)


def test_a_second_plugin_under_another_name_is_refused(comfyui: Path) -> None:
    other = comfyui / "custom_nodes" / "runflow"
    other.mkdir()
    (other / "plugin").symlink_to(CLONE / "plugin")
    assert "under another name" in refusal(comfyui)
    other.rename(comfyui / "custom_nodes" / "runflow.disabled")
    assert install_plugin(comfyui).action is Action.COPIED


def test_a_failed_installation_keeps_the_old_one(comfyui: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = install_plugin(comfyui).target
    (target / "old").touch()

    def full_disk(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full_disk)
    assert "No space left on device" in refusal(comfyui)
    assert (target / "old").is_file()
    assert list((comfyui / "custom_nodes").iterdir()) == [target]
