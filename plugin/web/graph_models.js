// The list of models that a workflow file may carry beside its nodes: the editor forgets it when it opens the file.
import { app } from "../../scripts/app.js"

/** @type {Map<string, any[]>} By the id of the graph, which stays when the person goes to another tab and back. */
const known = new Map()

/** @type {any[]} */
let opened = []

/**
 * What the file of a workflow listed.
 * @param {any} graph The workflow as the editor saves it.
 * @returns {any[]}
 */
export function graphModels(graph) {
  return graph.models ?? known.get(graph.id) ?? []
}

app.registerExtension({
  name: "Runflow.GraphModels",
  beforeConfigureGraph(graph) {
    opened = Array.isArray(graph?.models) ? graph.models : []
  },
  afterConfigureGraph() {
    const id = (app.rootGraph ?? app.graph).id
    if (id && opened.length) known.set(id, opened)
  },
})
