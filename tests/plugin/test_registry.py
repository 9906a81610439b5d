"""What the Comfy Registry is told of the plugin agrees with what the plugin is."""

import tomllib
from typing import Any

from plugin.version import VERSION
from runflow import __version__
from tests.support.oldest_comfyui import OLDEST
from tests.support.source import ROOT


def described(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / path).read_text())


def test_the_registry_hears_of_the_version_that_is_there() -> None:
    """The platform's is written in one place; the plugin's files, which stand alone, repeat it."""
    plugin, platform = described("plugin/pyproject.toml"), described("pyproject.toml")
    assert platform["project"]["dynamic"] == ["version"]
    assert platform["tool"]["hatch"]["version"]["path"] == "src/runflow/__init__.py"
    assert plugin["project"]["version"] == VERSION == __version__


def test_it_asks_for_nothing_that_comfyui_does_not_install_and_for_a_comfyui_that_is_tested() -> None:
    plugin = described("plugin/pyproject.toml")
    assert plugin["project"]["dependencies"] == []
    assert plugin["tool"]["comfy"]["requires-comfyui"] == f">={OLDEST}"
    assert plugin["tool"]["comfy"]["PublisherId"] and plugin["tool"]["comfy"]["DisplayName"]


def test_the_folder_of_the_plugin_is_no_package_of_its_own() -> None:
    assert "build-system" not in described("plugin/pyproject.toml")
