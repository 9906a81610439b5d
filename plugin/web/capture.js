// The workflow as it stands in the editor, in both of ComfyUI's formats.
import { app } from "../../scripts/app.js"

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
  // The editor names no class where it does not know the node; who reads the prompt must be able to say which is missing.
  for (const [id, node] of Object.entries(taken.prompt))
    node.class_type ??= find(app.rootGraph ?? app.graph, id.split(":"))?.type
  return taken
}

/**
 * The node at a path of ids, from the whole workflow into its subgraphs.
 * @param {Graph | undefined} graph
 * @param {string[]} path
 * @returns {GraphNode | null | undefined}
 */
function find(graph, [id, ...inner]) {
  const node = graph?.getNodeById(id)
  return inner.length ? find(node?.subgraph, inner) : node
}
