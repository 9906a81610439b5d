// What a field holds in the editor, as a person sees it: a subgraph node shows the widgets of the nodes inside it as its
// own, with values of its own.

/** @typedef {import("../../scripts/app.js").Graph} Graph */
/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */

/** The id of the place in a subgraph where what comes from outside enters. */
const SUBGRAPH_INPUT = -10

/**
 * The value that a field has where nothing is wired from outside; undefined where no widget holds one.
 * @param {(GraphNode | null | undefined)[]} path the node, after the subgraph nodes that it is in, from the outermost on
 * @param {string} field
 * @returns {any}
 */
export function shownValue(path, field) {
  const node = path.at(-1)
  const slot = node?.inputs?.find(({ name, widget }) => name === field || widget?.name === field)
  const around = path.at(-2)?.subgraph
  const link = around && typeof slot?.link === "number" ? linkOf(around, slot.link) : null
  if (around && link && Number(link.origin_id) === SUBGRAPH_INPUT) {
    const shown = shownValue(path.slice(0, -1), around.inputs?.[link.origin_slot]?.name ?? "")
    if (shown !== undefined) return shown
  }
  return node?.widgets?.find(({ name }) => name === (slot?.widget?.name ?? field))?.value
}

/** @param {Graph} graph @param {number} id */
function linkOf(graph, id) {
  return graph.getLink?.(id) ?? graph.links?.get?.(id) ?? null
}
