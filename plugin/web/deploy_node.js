// The Runflow Deploy node in the editor: never in a prompt, never saved with a host or a key; it carries the buttons.
import { app } from "../../scripts/app.js"
import { panelHeight } from "./deploy_panel.js"
import { addKeyField, typedKey } from "./key_field.js"
import { emptySecrets } from "./secret_values.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */

const CLASS = "RunflowDeploy"
const OWN = ["host", "api_key"]
const HOST = "Another server than the one in Settings > Runflow, for this session only; never saved with the workflow."

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

/**
 * The host and the key that were typed into the node for this session; empty texts mostly.
 * @param {GraphNode} node
 * @returns {{host: string, api_key: string}}
 */
export function takeSecrets(node) {
  return { host: String(widget(node, "host")?.value ?? ""), api_key: typedKey(node) }
}

/**
 * Take host and key out of a serialized node, whoever wrote it: another plugin's version saved them.
 * @param {any} data
 */
function forgetSecrets(data) {
  if (Array.isArray(data.widgets_values)) data.widgets_values = data.widgets_values.slice(0, 1)
  const named = data.widgets_values_named
  if (named) data.widgets_values_named = "endpoint_name" in named ? { endpoint_name: named.endpoint_name } : {}
  // Sockets of older plugins.
  if (Array.isArray(data.inputs)) data.inputs = data.inputs.filter((/** @type {any} */ slot) => !OWN.includes(slot.widget?.name ?? slot.name))
  return data
}

// An endpoint's name and an address are seldom shorter than the width that LiteGraph gives a node of itself.
const WIDTH = 340

/** @param {GraphNode} node */
function dress(node) {
  // Not declared by the node's class: what is has a socket, and can be promoted out of a subgraph, where it is saved.
  const host = node.addWidget("text", "host", "", () => {}, { serialize: false, tooltip: HOST })
  host.serialize = false
  addKeyField(node)
  for (const { label, press } of buttons) {
    // ComfyUI calls back with the value alone when it has promoted or demoted a widget; nobody pressed it then.
    const pressed = (/** @type {unknown[]} */ ...event) => event.length !== 1 && press(node)
    const button = node.addWidget("button", label, null, pressed, { serialize: false })
    button.serialize = false
  }
  node.widgets_start_y = 2
  const { computeSize } = node
  node.computeSize = function (...given) {
    const size = computeSize.apply(this, given)
    size[1] -= SPARE
    return size
  }
  node.setSize([Math.max(node.size[0], WIDTH), node.computeSize()[1]])
}

// LiteGraph leaves room for a row of sockets, which would be an empty strip below the last button.
const SPARE = 6
const HEIGHT_WITH_STRIP = 178

app.registerExtension({
  name: "Runflow.DeployNode",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== CLASS) return
    nodeType.prototype.isVirtualNode = true
    const configure = nodeType.prototype.configure
    nodeType.prototype.configure = function (/** @type {any} */ data) {
      configure.call(this, forgetSecrets({ ...data }))
      if (this.size[1] === HEIGHT_WITH_STRIP) this.setSize([this.size[0], this.computeSize()[1]])
    }
    const onSerialize = nodeType.prototype.onSerialize
    nodeType.prototype.onSerialize = function (/** @type {any} */ data) {
      onSerialize?.call(this, data)
      if (data.size) data.size = [data.size[0], data.size[1] - panelHeight(this)]
      forgetSecrets(data)
    }
  },
  beforeConfigureGraph: emptySecrets,
  nodeCreated(node) {
    if (node.comfyClass === CLASS) dress(node)
  },
})
