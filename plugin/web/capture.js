// The workflow as it stands in the editor, in both of ComfyUI's formats.
import { app } from "../../scripts/app.js"

/**
 * Take the whole workflow, subgraphs included, whichever subgraph is open. Both parts are copies.
 * @returns {Promise<{prompt: Record<string, any>, graph: Record<string, any>}>}
 *   `prompt` is the API format (node id → class and inputs), `graph` the UI format (nodes and links).
 */
export async function capture() {
  const { output, workflow } = await app.graphToPrompt()
  return JSON.parse(JSON.stringify({ prompt: output, graph: workflow }))
}
