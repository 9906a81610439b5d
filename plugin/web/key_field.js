// The field for an API key on the Runflow Deploy node. The key is in this element alone: not in the value of a widget,
// which ComfyUI saves in workflow files and drafts, compares for undo, copies with the node and shows in clear.
import { make } from "./dialog.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */

const NAME = "api_key"
const TOOLTIP = "A key for that host, for this session only; never saved with the workflow. Better: Settings > Runflow."
const HEIGHT = 24

// As the widgets beside it: those of the canvas, and those of the newer nodes, which are HTML (.lg-node).
const STYLE = `
.runflow-key { box-sizing: border-box; width: 100%; height: 20px; padding: 0 15px; pointer-events: none; }
.runflow-key label { box-sizing: border-box; display: flex; align-items: center; gap: 8px; width: 100%; height: 20px; padding: 0 14px;
  border: 1px solid var(--border-color, #666); border-radius: 10px; background: var(--comfy-input-bg, #222);
  color: var(--descrip-text, #999); font: 12px Arial, sans-serif; pointer-events: auto; cursor: text; }
.runflow-key label:focus-within { border-color: #6bb3ff; }
.runflow-key input { all: unset; box-sizing: border-box; flex: 1; min-width: 0; text-align: right; color: var(--input-text, #ddd); }
.lg-node .runflow-key { flex: none; height: 32px; padding: 0; }
.lg-node .runflow-key label { height: 32px; padding: 0; border: 0; background: none; color: inherit; font: inherit; }
.lg-node .runflow-key span { min-width: 80px; }
.lg-node .runflow-key input { height: 32px; padding: 0 16px; border-radius: 6px; text-align: left; color: inherit;
  background: var(--component-node-widget-background, var(--comfy-input-bg, #222)); }
.lg-node .runflow-key input:focus { box-shadow: 0 0 0 1px #6bb3ff; }
`

/** @type {WeakMap<GraphNode, HTMLInputElement>} */
const inputs = new WeakMap()

/**
 * The key that was typed into a node's field; empty mostly.
 * @param {GraphNode} node
 */
export function typedKey(node) {
  return inputs.get(node)?.value.trim() ?? ""
}

/**
 * Put the field on a node.
 * @param {GraphNode} node
 */
export function addKeyField(node) {
  if (!document.getElementById("runflow-key-style")) document.head.append(make("style", { id: "runflow-key-style", textContent: STYLE }))
  // Browsers offer to save what is typed into a field of passwords, but not where the page says that it is a new one.
  const input = make("input", { type: "password", autocomplete: "new-password", spellcheck: false, ariaLabel: NAME, title: TOOLTIP })
  const field = make("div", { className: "runflow-key" }, make("label", null, make("span", null, NAME), input))
  // The editor has shortcuts for many keys, drags nodes by the pointer, and pastes nodes.
  for (const type of ["keydown", "keyup", "pointerdown", "pointermove", "dblclick", "contextmenu", "copy", "cut", "paste"])
    input.addEventListener(type, (event) => event.stopPropagation())
  inputs.set(node, input)
  const widget = node.addDOMWidget(NAME, "runflow_key", field, {
    serialize: false,
    hideOnZoom: true,
    margin: 0,
    getValue: () => "",
    setValue: () => {},
    getMinHeight: () => HEIGHT,
    getMaxHeight: () => HEIGHT,
  })
  widget.serialize = false
}
