"""Browser tests: real pages of a real ComfyUI in a real Chromium (fixtures: tests/support/editor_fixtures.py)."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.browser import playground_nodes
from tests.support.editor import CLONE, Editor, copy_comfyui
from tests.support.editor_fixtures import NEWEST
from tests.support.oldest_comfyui import OLDEST
from tests.support.platform_fixtures import until


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse an unmarked test: `.ci/run` installs Chromium when it finds the marker in a test file."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("browser"):
            raise pytest.UsageError(f"{item.nodeid}: write `pytestmark = pytest.mark.browser` (.ci/run looks for it)")


@pytest.fixture(scope="session")
def separate_editors(
    comfyui_dirs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Editor]]:
    """Each version's editor whose ComfyUI folder is the session's own, with the playground's test nodes."""
    started: dict[str, Editor] = {}

    def get(version: str) -> Editor:
        if version not in started:
            folder = tmp_path_factory.mktemp("separate")
            comfyui = copy_comfyui(comfyui_dirs[version], folder / "comfyui")
            made = Editor(comfyui, folder / "editor", as_clone=version == OLDEST)
            shutil.copy(playground_nodes.__file__, made.base / "custom_nodes")
            if version == NEWEST:  # as a developer installs it (`ln -s`): our own files must be found behind the link
                shutil.rmtree(made.plugin)
                made.plugin.symlink_to(CLONE / "plugin")
            started[version] = made
            made.start()
        return started[version]

    yield get
    for editor in started.values():
        editor.end()


@pytest.fixture
def lend_editor(separate_editors: Callable[[str], Editor]) -> Iterator[Callable[[str], Editor]]:
    """Lend the separate editor of a version to a test that sets its password, stops it or kills it."""
    lent: list[Editor] = []

    def lend(version: str) -> Editor:
        lent.append(separate_editors(version))
        return lent[-1]

    yield lend
    for editor in lent:
        (editor.comfyui / "runflow_security.json").unlink(missing_ok=True)
        if editor.process is None or editor.process.poll() is not None:
            editor.start()
        until(partial(_answers, editor), "an editor without a password")


def _answers(editor: Editor) -> bool:
    return httpx.get(f"{editor.url}/prompt", timeout=30).is_success
