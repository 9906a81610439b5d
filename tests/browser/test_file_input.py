"""The Choose file button of Runflow Input (File) in the real editor."""

from pathlib import Path

import pytest

from tests.support.editor import Editor
from tests.support.editor_fixtures import OpenPage

pytestmark = pytest.mark.browser

CHOOSE = "📁 Choose file"


async def test_a_chosen_file_is_uploaded_and_named(every_editor: Editor, open_page: OpenPage, tmp_path: Path) -> None:
    page = await open_page(every_editor)
    await page.load({"nodes": [], "links": [], "version": 0.4})
    first = await page.add("RunflowInputFile", 100, 100, input_id="scan")
    second = await page.add("RunflowInputFile", 600, 100, input_id="other")
    shown = await page.add("PreviewAny", 1000, 100)
    await page.connect(first, 0, shown, "source")
    assert await page.labels(first) == [CHOOSE]
    for node_id, content in ((first, b"solid one"), (second, b"solid two")):
        (tmp_path / "part.stl").write_bytes(content)
        async with page.page.expect_file_chooser() as opened:
            await page.press(node_id, CHOOSE)
        async with page.page.expect_response("**/runflow/upload-input-file") as answered:
            await (await opened.value).set_files(tmp_path / "part.stl")
        assert (await answered.value).status == 200
        await page.page.wait_for_function(
            "([id, label]) => app.graph.nodes.find((each) => String(each.id) === id)"
            ".widgets.some((each) => each.label === label)",
            arg=[node_id, CHOOSE],
        )
    names = [await page.widget(node_id, "file_name") for node_id in (first, second)]
    assert names == ["part.stl", "part (1).stl"]
    assert [(every_editor.base / "input" / name).read_bytes() for name in names] == [b"solid one", b"solid two"]
    inputs = (await page.prompt())[first]["inputs"]
    assert inputs["file_name"] == "part.stl"
    assert CHOOSE not in inputs
    await page.load(await page.graph())
    assert await page.widget(first, "file_name") == "part.stl"
    assert await page.labels(first) == [CHOOSE]
    await page.screenshot("chosen")


async def test_a_workflow_from_before_the_required_widget(editor: Editor, open_page: OpenPage) -> None:
    page = await open_page(editor)
    for values, required in (
        (["scan", "", "", "a.stl"], False),
        (["scan", "", "", "a.stl", None], False),
        (["scan", "", "", "a.stl", True], True),
        (["scan", "", "", True, "a.stl"], True),
        (["scan", "", "", False, "a.stl"], False),
    ):
        node = {"id": 7, "type": "RunflowInputFile", "pos": [100, 100], "size": [300, 200], "widgets_values": values}
        await page.load({"last_node_id": 7, "last_link_id": 0, "nodes": [node], "links": [], "version": 0.4})
        assert [await page.widget("7", name) for name in ("input_id", "required", "file_name")] == [
            "scan",
            required,
            "a.stl",
        ]


async def test_a_refused_upload_says_why_and_keeps_the_name(
    newest_editor: Editor, open_page: OpenPage, tmp_path: Path
) -> None:
    page = await open_page(newest_editor)
    await page.load({"nodes": [], "links": [], "version": 0.4})
    node_id = await page.add("RunflowInputFile", 100, 100, file_name="kept.bin")
    await page.page.context.set_offline(True)
    (tmp_path / "part.stl").write_bytes(b"solid")
    async with page.page.expect_file_chooser() as opened:
        await page.press(node_id, CHOOSE)
    async with page.page.expect_event("dialog"):
        await (await opened.value).set_files(tmp_path / "part.stl")
    assert page.alerts == ["Runflow: part.stl was not uploaded. ComfyUI does not answer. Is it still running?"]
    assert await page.widget(node_id, "file_name") == "kept.bin"
    await page.page.context.set_offline(False)
    page.faults.clear()  # the browser's own words about the connection
