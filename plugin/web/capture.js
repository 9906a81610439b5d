// The workflow as it stands in the editor, in both of ComfyUI's formats.
import { app } from "../../scripts/app.js"
import { graphModels } from "./graph_models.js"
import { shownValue } from "./shown_values.js"

/** @typedef {import("../../scripts/app.js").Graph} Graph */
/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */

/**
 * Take the whole workflow, subgraphs included, whichever subgraph is open. Both parts are copies.
 * @returns {Promise<{prompt: Record<string, any>, graph: Record<string, any>}>}
 *   `prompt` is the API format (node id → class and inputs), `graph` the UI format (nodes and links).
 */
export async function capture() {
  const { output, workflow } = await app.graphToPrompt()
  const taken = JSON.parse(JSON.stringify({ prompt: output, graph: workflow }))
  const models = graphModels(taken.graph)
  if (models.length) taken.graph.models = models
  for (const [id, node] of Object.entries(taken.prompt)) {
    const path = find(app.rootGraph ?? app.graph, id.split(":"))
    // The editor names no class where it does not know the node; who reads the prompt must be able to tell which it is.
    node.class_type ??= path.at(-1)?.type
    const own = ownDefaults(node.inputs, taken.prompt, path)
    if (Object.keys(own).length) node._meta = { ...node._meta, runflow_widgets: own }
  }
  return taken
}

/**
 * What the widgets hold whose place a Runflow Input node takes: the prompt lacks it, and it applies when a caller leaves
 * an optional input out.
 * @param {Record<string, any>} inputs
 * @param {Record<string, any>} prompt
 * @param {(GraphNode | null | undefined)[]} path
 */
function ownDefaults(inputs, prompt, path) {
  /** @type {Record<string, string | number | boolean>} */
  const own = {}
  for (const [field, link] of Object.entries(inputs)) {
    if (!Array.isArray(link) || !/^RunflowInput/.test(prompt[link[0]]?.class_type)) continue
    const value = shownValue(path, field)
    if (["string", "number", "boolean"].includes(typeof value)) own[field] = value
  }
  return own
}

/**
 * The nodes at a path of ids, from the whole workflow into its subgraphs.
 * @param {Graph | undefined} graph
 * @param {string[]} path
 * @returns {(GraphNode | null | undefined)[]}
 */
function find(graph, [id, ...inner]) {
  const node = graph?.getNodeById(id)
  return inner.length ? [node, ...find(node?.subgraph, inner)] : [node]
}
