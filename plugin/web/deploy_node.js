// The Runflow Deploy node in the editor: never in a prompt, never saved with a host or a key; it carries the buttons.
import { app } from "../../scripts/app.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */

const CLASS = "RunflowDeploy"
const SECRET = ["host", "api_key"]
const MASK = "••••"

/** @type {{label: string, order: number, press: (node: GraphNode) => unknown}[]} */
const buttons = []

/**
 * Put a button on every Runflow Deploy node. Call it while the module loads.
 * @param {string} label
 * @param {number} order Deploy is 1, Local Playground 2, Auto setup 3.
 * @param {(node: GraphNode) => unknown} press
 */
export function addButton(label, order, press) {
  buttons.push({ label, order, press })
  buttons.sort((one, other) => one.order - other.order)
}

/**
 * @param {GraphNode} node
 * @param {string} name
 */
export function widget(node, name) {
  return node.widgets?.find((each) => each.name === name)
}

// The widget shows a mask instead of a typed key, so that no screenshot holds it.
/** @type {WeakMap<GraphNode, string>} */
const typedKeys = new WeakMap()

/**
 * The host and the key that were typed into the node for this session; empty texts mostly.
 * @param {GraphNode} node
 * @returns {{host: string, api_key: string}}
 */
export function takeSecrets(node) {
  maskKey(node)
  return { host: String(widget(node, "host")?.value ?? ""), api_key: typedKeys.get(node) ?? "" }
}

/** @param {GraphNode} node */
function maskKey(node) {
  const key = widget(node, "api_key")
  const value = String(key?.value ?? "")
  if (!key || value.startsWith(MASK)) return
  if (value) typedKeys.set(node, value)
  else typedKeys.delete(node)
  key.value = value ? `${MASK}${value.length >= 12 ? value.slice(-4) : ""}` : ""
}

/**
 * Take host and key out of a serialized node, whoever wrote it: another plugin's version saved them.
 * @param {any} data
 */
function forgetSecrets(data) {
  if (Array.isArray(data.widgets_values)) data.widgets_values = data.widgets_values.slice(0, 1)
  const named = data.widgets_values_named
  if (named) data.widgets_values_named = "endpoint_name" in named ? { endpoint_name: named.endpoint_name } : {}
  return data
}

// An endpoint's name and an address are seldom shorter than the width that LiteGraph gives a node of itself.
const WIDTH = 340

/** @param {GraphNode} node */
function dress(node) {
  for (const name of SECRET) {
    const secret = widget(node, name)
    if (secret) secret.serialize = false
  }
  const key = widget(node, "api_key")
  if (key) key.callback = () => maskKey(node)
  for (const { label, press } of buttons) {
    const button = node.addWidget("button", label, null, () => press(node), { serialize: false })
    button.serialize = false
  }
  node.setSize([Math.max(node.size[0], WIDTH), node.size[1]])
}

app.registerExtension({
  name: "Runflow.DeployNode",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== CLASS) return
    nodeType.prototype.isVirtualNode = true
    const configure = nodeType.prototype.configure
    nodeType.prototype.configure = function (/** @type {any} */ data) {
      return configure.call(this, forgetSecrets({ ...data }))
    }
    const onSerialize = nodeType.prototype.onSerialize
    nodeType.prototype.onSerialize = function (/** @type {any} */ data) {
      onSerialize?.call(this, data)
      forgetSecrets(data)
    }
  },
  nodeCreated(node) {
    if (node.comfyClass === CLASS) dress(node)
  },
})
