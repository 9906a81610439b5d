// Values in a workflow file that lead to `host` or `api_key` of a Runflow Deploy node: older plugins let these be promoted
// out of a subgraph or wired, and then the file holds them on another node. The same rules as in graph/secret_values.py.

const DEPLOY = "RunflowDeploy"
const SECRET = ["host", "api_key"]
const INPUTS_OF_SUBGRAPH = "-10"

/** @typedef {Record<string, any>} Row */

/** @param {any} list @returns {Row[]} */
const rows = (list) => (Array.isArray(list) ? list.filter((row) => row && typeof row === "object") : [])

/** @param {Row} slot */
const widgetOf = (slot) => String(slot.widget?.name ?? slot.name)

/** @param {Row} link Of a graph a list, of a subgraph's definition an object. */
const readLink = (link) =>
  Array.isArray(link)
    ? { id: link[0], origin: link[1], slot: link[2] }
    : { id: link.id, origin: link.origin_id, slot: link.origin_slot }

/**
 * Empty the value of one widget of a node; without a name, or where its place is unknown, every text of it.
 * @param {Row} node
 * @param {string[]} names Of the widgets, in the order of their values.
 * @param {string} [name]
 */
function empty(node, names, name) {
  const values = node.widgets_values
  if (Array.isArray(values)) {
    const known = name !== undefined && names.includes(name) && values.length === names.length
    node.widgets_values = values.map((value, place) =>
      typeof value === "string" && (!known || names[place] === name) ? "" : value,
    )
  }
  for (const held of [node.widgets_values, node.widgets_values_named])
    if (held && !Array.isArray(held))
      for (const key of Object.keys(held))
        if (typeof held[key] === "string" && (name === undefined || key === name)) held[key] = ""
}

/**
 * Empty such values in a workflow in UI format, in place, and take away the links and pairs by which they led there.
 * @param {Row} graph
 */
export function emptySecrets(graph) {
  const parts = [graph, ...rows(graph.definitions?.subgraphs)]
  const byId = new Map(parts.map((part) => [String(part.id), part]))
  /** @type {[Row, any][]} The links whose values are secret. */
  const left = []
  /** @type {Map<Row, Set<any>>} The links that end at a secret field. */
  const ends = new Map()
  /** @type {Set<unknown>} */
  const seen = new Set()
  /** What a subgraph's node shows of a secret: the node, and the name there. @type {Map<Row, Set<string>>} */
  const exposed = new Map()
  /** @param {Row} node @param {string} name */
  const expose = (node, name) => exposed.set(node, (exposed.get(node) ?? new Set()).add(name))

  for (const part of parts)
    for (const node of rows(part.nodes).filter(({ type }) => type === DEPLOY))
      for (const slot of rows(node.inputs).filter((each) => SECRET.includes(widgetOf(each)) && (each.link ?? null) !== null)) {
        ends.set(part, (ends.get(part) ?? new Set()).add(slot.link))
        left.push([part, slot.link])
      }
  for (let next = left.pop(); next; next = left.pop()) {
    const [part, id] = next
    const row = rows(part.links).find((link) => readLink(link).id === id)
    if (!row || seen.has(row)) continue
    seen.add(row)
    const { origin, slot: index } = readLink(row)
    if (String(origin) === INPUTS_OF_SUBGRAPH) {
      const name = rows(part.inputs)[index]?.name
      for (const holder of parts)
        for (const node of rows(holder.nodes).filter(({ type }) => String(type) === String(part.id))) {
          const shown = rows(node.inputs).filter(({ widget }) => widget)
          for (const slot of rows(node.inputs).filter((each) => each.name === name)) {
            empty(node, shown.map(widgetOf), widgetOf(slot))
            expose(node, name)
            if ((slot.link ?? null) !== null) left.push([holder, slot.link])
          }
        }
      continue
    }
    const node = rows(part.nodes).find((each) => String(each.id) === String(origin))
    if (!node) continue
    const inner = byId.get(String(node.type))
    if (inner) {
      for (const link of rows(inner.outputs)[index]?.linkIds ?? []) left.push([inner, link])
    } else if (!seen.has(node)) {
      seen.add(node)
      empty(node, [])
      for (const slot of rows(node.inputs)) if ((slot.link ?? null) !== null) left.push([part, slot.link])
    }
  }

  /** @param {Row} inner @param {any} pair */
  const isSecret = (inner, pair) => {
    if (!Array.isArray(pair)) return false
    const name = String(pair[1])
    const node = rows(inner.nodes).find((each) => String(each.id) === String(pair[0]))
    if (node?.type === DEPLOY) return SECRET.includes(name)
    const names = node && exposed.get(node)
    return !!names && (names.has(name) || names.has(name.slice(name.lastIndexOf(": ") + 2)))
  }
  for (let found = true; found; ) {
    found = false
    for (const node of parts.flatMap((part) => rows(part.nodes))) {
      const inner = byId.get(String(node.type))
      const proxies = node.properties?.proxyWidgets
      if (!inner || !Array.isArray(proxies)) continue
      const names = proxies.map((pair) => String(pair?.[1]))
      const secret = proxies.filter((pair) => isSecret(inner, pair))
      for (const pair of secret) {
        empty(node, names, String(pair[1]))
        expose(node, String(pair[1]))
      }
      if (secret.length) found = true
      node.properties.proxyWidgets = proxies.filter((pair) => !secret.includes(pair))
    }
  }
  for (const [part, ids] of ends) cut(part, ids)
}

/**
 * Take links out of a part of a workflow, with every mention of them.
 * @param {Row} part
 * @param {Set<any>} ids
 */
function cut(part, ids) {
  const stays = (/** @type {any} */ id) => !ids.has(id)
  part.links = part.links.filter((/** @type {any} */ link) => !link || stays(readLink(link).id))
  for (const node of rows(part.nodes)) {
    for (const slot of rows(node.inputs)) if (ids.has(slot.link)) slot.link = null
    for (const slot of rows(node.outputs)) if (Array.isArray(slot.links)) slot.links = slot.links.filter(stays)
  }
  for (const row of rows(part.inputs)) if (Array.isArray(row.linkIds)) row.linkIds = row.linkIds.filter(stays)
}
