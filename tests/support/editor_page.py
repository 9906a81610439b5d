"""ComfyUI's page in a real browser: load a workflow, press a node's buttons, read what the page says."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import ConsoleMessage, Dialog, Locator, Page, expect

EMPTY: dict[str, Any] = {"nodes": [], "links": [], "version": 0.4}
"""A workflow without nodes."""

_READY = "() => window.app?.extensionManager && window.app.vueAppReady !== false && window.app.rootGraph !== null"
_NODE = "const node = app.graph.nodes.find((each) => String(each.id) === String(id));"
_OURS = "/extensions/ComfyUI-Runflow/"


@dataclass
class EditorPage:
    """An open editor. `alerts` and `faults` fill by themselves: native dialogs, and errors of our own scripts."""

    page: Page
    url: str
    shots: Path
    alerts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("dialog", self._answer)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)) if _OURS in str(error.stack) else None)

    async def _answer(self, dialog: Dialog) -> None:
        self.alerts.append(dialog.message)
        await dialog.accept()

    def _hear(self, message: ConsoleMessage) -> None:
        # ComfyUI's page asks that site about nodes of packs, ours among them; the pages of the tests may not.
        if "api.comfy.org" in message.text:
            return
        if message.type == "error" and (_OURS in message.location.get("url", "") or "Runflow" in message.text):
            self.faults.append(message.text)

    async def open(self) -> None:
        """Open the page and wait until the editor can be used."""
        await self.page.goto(self.url)
        await self.until_ready()

    async def until_ready(self) -> None:
        """Wait until the editor can be used, of a page that is being loaded."""
        await self.page.wait_for_function(_READY)
        await self.page.wait_for_function(
            "() => document.querySelector('#graph-canvas, canvas.graph-canvas-container, canvas')"
        )

    async def load(self, graph: dict[str, Any]) -> None:
        """Load a workflow in UI format."""
        await self.page.evaluate("async (graph) => { await app.loadGraphData(graph) }", graph)

    async def add(self, class_type: str, x: float = 100, y: float = 100, **widgets: Any) -> str:
        """Put a node on the canvas and set its widgets. Returns its id."""
        script = """([type, pos, widgets]) => {
            const node = LiteGraph.createNode(type)
            if (!node) throw new Error(`no node ${type}`)
            node.pos = pos
            app.graph.add(node)
            for (const [name, value] of Object.entries(widgets)) {
                const widget = node.widgets.find((each) => each.name === name)
                widget.value = value
                widget.callback?.(value)
            }
            return String(node.id)
        }"""
        return str(await self.page.evaluate(script, [class_type, [x, y], widgets]))

    async def connect(self, source: str, slot: int, target: str, name: str) -> None:
        """Link an output of one node to an input of another."""
        script = """([source, slot, target, name]) => {
            const from = app.graph.nodes.find((node) => String(node.id) === source)
            const to = app.graph.nodes.find((node) => String(node.id) === target)
            const index = to.inputs.findIndex((input) => input.name === name)
            if (index < 0) throw new Error(`no input ${name} among ${to.inputs.map((input) => input.name)}`)
            from.connect(slot, to, index)
        }"""
        await self.page.evaluate(script, [source, slot, target, name])

    async def find(self, class_type: str) -> list[str]:
        """The ids of the nodes of that class in the graph that is open."""
        found = await self.page.evaluate(
            "(type) => app.graph.nodes.filter((node) => node.type === type).map((node) => String(node.id))", class_type
        )
        return list(found)

    async def widget(self, node_id: str, name: str) -> Any:
        """The value of a widget."""
        script = f"([id, name]) => {{ {_NODE} return node.widgets.find((each) => each.name === name)?.value }}"
        return await self.page.evaluate(script, [node_id, name])

    async def set_widget(self, node_id: str, name: str, value: Any) -> None:
        """Set a widget as typing into it does."""
        script = f"""([id, name, value]) => {{ {_NODE}
            const widget = node.widgets.find((each) => each.name === name)
            widget.value = value
            widget.callback?.(value, app.canvas, node)
        }}"""
        await self.page.evaluate(script, [node_id, name, value])

    async def labels(self, node_id: str) -> list[str]:
        """The labels of a node's buttons, from the top."""
        script = f"""(id) => {{ {_NODE}
            return node.widgets.filter((each) => each.type === "button").map((each) => each.label ?? each.name)
        }}"""
        return list(await self.page.evaluate(script, node_id))

    async def until_labelled(self, node_id: str, label: str) -> None:
        """Wait until a node's first button says this."""
        async with asyncio.timeout(60):
            while (await self.labels(node_id))[0] != label:
                await asyncio.sleep(0.05)

    async def press(self, node_id: str, label: str | None = None, *, close: bool = False) -> None:
        """Press a button of a node with the mouse, where it is drawn; without `label` its first one.

        Waits until nothing lies over it; with `close` whatever does is closed by Escape.
        """
        vue = self.page.locator(f'[data-node-id="{node_id}"]').get_by_role("button", name=label, exact=True)
        if label is not None and await self.page.evaluate("() => LiteGraph.vueNodesMode === true"):
            await vue.click()
            return
        async with asyncio.timeout(60):
            while (place := await self._place_of_button(node_id, label)) is None:
                if close:
                    await self.page.keyboard.press("Escape")
                await asyncio.sleep(0.1)
        await self.page.mouse.move(*place)
        await self.page.mouse.click(*place)

    async def _place_of_button(self, node_id: str, label: str | None) -> tuple[float, float] | None:
        """Move a node's button to the middle of the canvas; where it is there, None while something covers it."""
        script = f"""async ([id, label]) => {{ {_NODE}
            const canvas = app.canvas
            canvas.ds.scale = 1
            canvas.centerOnNode(node)
            canvas.draw(true, true)
            await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))
            const buttons = node.widgets.filter((each) => each.type === "button")
            const button = label === null ? buttons[0] : buttons.find((each) => (each.label ?? each.name) === label)
            if (!button) throw new Error(`no button ${{label}}`)
            const box = canvas.canvas.getBoundingClientRect()
            const y = button.last_y ?? button.y
            const place = [
                box.left + (node.pos[0] + node.size[0] / 2 + canvas.ds.offset[0]) * canvas.ds.scale,
                box.top + (node.pos[1] + y + 10 + canvas.ds.offset[1]) * canvas.ds.scale,
            ]
            return document.elementFromPoint(...place) === canvas.canvas ? place : null
        }}"""
        found = await self.page.evaluate(script, [node_id, label])
        return (found[0], found[1]) if found else None

    async def alert(self) -> str:
        """Wait for a native dialog that nobody took yet, and take it. Returns what it says."""
        async with asyncio.timeout(60):
            while not self.alerts:
                await asyncio.sleep(0.02)
        return self.alerts.pop(0)

    async def toast(self, text: str) -> None:
        """Wait for a toast with this text; ComfyUI may show others beside it."""
        toasts = self.page.locator(".p-toast-message, [role=alert]")
        await expect(toasts.filter(has_text=text).first).to_be_visible()

    async def new_design(self, on: bool = True) -> None:
        """Show nodes as ComfyUI's newer HTML ("Nodes 2.0"), or on the canvas. ComfyUI keeps it for later pages."""
        await self.page.evaluate("(on) => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", on)
        await self.page.wait_for_function("(on) => LiteGraph.vueNodesMode === on", arg=on)

    async def prompt(self) -> dict[str, Any]:
        """What ComfyUI would execute now, in API format."""
        return dict(await self.page.evaluate("async () => (await app.graphToPrompt()).output"))

    async def graph(self) -> dict[str, Any]:
        """The workflow as ComfyUI would save it, in UI format."""
        return dict(
            await self.page.evaluate("() => JSON.parse(JSON.stringify((app.rootGraph ?? app.graph).serialize()))")
        )

    async def open_settings(self, section: str = "Runflow") -> Locator:
        """Open ComfyUI's settings at a section. Returns the dialog."""
        await self.page.evaluate("() => app.extensionManager.command.execute('Comfy.ShowSettingsDialog')")
        dialog = self.page.get_by_role("dialog").filter(has_text="Settings").last
        await dialog.get_by_text(section, exact=True).first.click()
        return dialog

    async def screenshot(self, name: str) -> Path:
        """Save what the page shows as NAME.png in the folder of pictures."""
        self.shots.mkdir(parents=True, exist_ok=True)
        path = self.shots / f"{name}.png"
        await self.page.screenshot(path=path)
        return path


def read_graph(path: Path) -> dict[str, Any]:
    """A workflow file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))
