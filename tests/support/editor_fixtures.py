"""Real editors for the tests of the plugin: ComfyUI 0.16.3 and 0.30.0, each with the page it pins, 0.30.0 also with the
newest page of the package index, and a real Chromium.

`editor` runs a test once on each version; `every_editor` on the newest page as well, for what a new page can break;
`newest_editor`, `oldest_editor` on one; `own_editor` starts one of the test's own, to restart it or to give it other
arguments. `open_page` opens the editor in the browser.
Pictures go to RUNFLOW_SCREENSHOTS, or into a folder that goes away.
"""

import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright, expect

from runflow.settings import Settings
from runflow.worker.runtime.commands import InstallError
from runflow.worker.runtime.record import read_record
from tests.support.editor import Editor, copy_comfyui
from tests.support.editor_page import EditorPage
from tests.support.latest_page import LATEST, PACKAGE, LatestPage, latest_page
from tests.support.oldest_comfyui import OLDEST, make_oldest

NEWEST = "newest"
_PATIENCE_MS = 60_000
"""How long a page may take for anything: it only ends a test that hangs."""
_ONLY_LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

StartEditor = Callable[..., Editor]
OpenPage = Callable[..., Awaitable[EditorPage]]


@pytest.fixture(scope="session")
def oldest_comfyui_dir(comfyui_dir: Path) -> Path:
    """The folder of ComfyUI 0.16.3: beside the newest where that is an installation of ours, else below the home."""
    beside = comfyui_dir.parent if read_record(comfyui_dir) else Settings().home
    try:
        return make_oldest(comfyui_dir, beside / f"{comfyui_dir.name}-{OLDEST}")
    except InstallError as error:
        pytest.skip(f"ComfyUI {OLDEST} cannot be had on this machine: {error}")


@pytest.fixture(scope="session")
def comfyui_dirs(comfyui_dir: Path, oldest_comfyui_dir: Path) -> dict[str, Path]:
    """The folder of each version."""
    return {OLDEST: oldest_comfyui_dir, NEWEST: comfyui_dir}


@pytest.fixture(scope="session")
def latest(comfyui_dir: Path) -> LatestPage:
    """The newest page: beside the newest ComfyUI where that is an installation of ours, else below the home."""
    beside = comfyui_dir.parent if read_record(comfyui_dir) else Settings().home
    try:
        return latest_page(comfyui_dir, beside / f"{comfyui_dir.name}-page")
    except InstallError as error:
        pytest.skip(f"ComfyUI's newest page cannot be had on this machine: {error}")


@pytest.fixture(scope="session")
def editors(comfyui_dirs: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Callable[[str], Editor]]:
    """Each version's editor, started when it is first asked for and shared by the session. Do not stop it."""
    started: dict[str, Editor] = {}

    def get(version: str) -> Editor:
        if version not in started:
            fields: dict[str, Any] = {"as_clone": version == OLDEST}
            if version == LATEST:
                page: LatestPage = request.getfixturevalue("latest")
                fields |= {"page": page.version, "arguments": ("--front-end-root", str(page.files))}
            base = Path(tempfile.mkdtemp(prefix="runflow-editor-"))
            made = Editor(comfyui_dirs[NEWEST if version == LATEST else version], base, **fields)
            started[version] = made
            made.start()
        return started[version]

    yield get
    for editor in started.values():
        editor.end()
        shutil.rmtree(editor.base, ignore_errors=True)


@pytest.fixture(params=[OLDEST, NEWEST])
def editor(editors: Callable[[str], Editor], request: pytest.FixtureRequest) -> Editor:
    """An editor of each version: the test runs twice."""
    return editors(request.param)


@pytest.fixture(params=[OLDEST, NEWEST, pytest.param(LATEST, marks=pytest.mark.optional)])
def every_editor(editors: Callable[[str], Editor], request: pytest.FixtureRequest) -> Editor:
    """An editor of each version, and the newest with the newest page: the test runs three times."""
    return editors(request.param)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name the version of the page in a failure on the newest one: another day it is another."""
    report = yield
    shown = getattr(item, "funcargs", {}).get("every_editor")
    if report.failed and isinstance(shown, Editor) and shown.page:
        report.sections.append(("page", f"This was {PACKAGE} {shown.page}, the newest of the package index."))
    return report


@pytest.fixture
def newest_editor(editors: Callable[[str], Editor]) -> Editor:
    """The newest version's editor."""
    return editors(NEWEST)


@pytest.fixture
def oldest_editor(editors: Callable[[str], Editor]) -> Editor:
    """The oldest version's editor."""
    return editors(OLDEST)


@pytest.fixture
def own_editor(comfyui_dirs: dict[str, Path], tmp_path: Path) -> Iterator[StartEditor]:
    """Start editors of the test's own: `own_editor(version=NEWEST, **fields of Editor)`; all are stopped afterwards.

    `separate`: with a copy of ComfyUI's own folder, for tests that write into that.
    """
    started: list[Editor] = []

    def start(version: str = NEWEST, *, separate: bool = False, **fields: Any) -> Editor:
        comfyui = comfyui_dirs[version]
        if separate:
            comfyui = copy_comfyui(comfyui, tmp_path / f"comfyui-{len(started)}")
        made = Editor(comfyui, tmp_path / f"editor-{len(started)}", **fields)
        started.append(made)
        made.start()
        return made

    yield start
    for one in started:
        one.end()


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, without a window; it reaches this machine only."""
    found = [os.environ.get("RUNFLOW_CHROMIUM"), *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
    program = next((path for path in found if path), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium; or RUNFLOW_CHROMIUM=/path/to/it)")
    expect.set_options(timeout=_PATIENCE_MS)
    async with async_playwright() as playwright:
        # As root Chromium starts only without its sandbox; the pages are ours.
        arguments = [_ONLY_LOOPBACK, "--no-sandbox", "--disable-gpu"]
        browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        await browser.close()


@pytest.fixture
def shots(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The folder of this test's pictures."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", request.node.name).strip("-")
    folder = os.environ.get("RUNFLOW_SCREENSHOTS")
    return Path(folder) / name if folder else tmp_path / "shots"


@pytest.fixture
async def open_page(chromium: Browser, shots: Path) -> AsyncIterator[OpenPage]:
    """Open an editor in a fresh browser profile: `page = await open_page(editor)`; other arguments go to the profile
    (`viewport`, `color_scheme`, `http_credentials` …). At the end each page's last view is saved, and an error of one
    of our scripts that a test did not expect (and remove from `faults`) fails it.
    """
    opened: list[EditorPage] = []

    async def open_editor(editor: Editor, **profile: Any) -> EditorPage:
        context = await chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **profile})
        context.set_default_timeout(_PATIENCE_MS)
        made = EditorPage(await context.new_page(), editor.url, shots)
        opened.append(made)
        await made.open()
        return made

    yield open_editor
    for number, made in enumerate(opened):
        await made.screenshot(f"end-{number}")
        await made.page.context.close()
    faults = [fault for made in opened for fault in made.faults]
    assert not faults, faults
