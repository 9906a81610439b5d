// A short text that changes when what a workflow does changes; not when only its local test values do.

/** @typedef {Record<string, {class_type: string, inputs: Record<string, any>}>} Prompt */

const INPUT = /^RunflowInput/

/** @param {any} value @returns {value is [string, number]} */
const isLink = (value) => Array.isArray(value) && value.length === 2 && typeof value[0] === "string"

/**
 * The prompt without the wires into Runflow Input nodes, and without the nodes that only serve these wires.
 * @param {Prompt} prompt
 * @returns {Prompt}
 */
function withoutTestValues(prompt) {
  const kept = structuredClone(prompt)
  /** @type {Map<string, number>} */
  const uses = new Map()
  for (const { inputs } of Object.values(kept))
    for (const value of Object.values(inputs)) if (isLink(value)) uses.set(value[0], (uses.get(value[0]) ?? 0) + 1)
  /** @param {any} link */
  const release = (link) => {
    const left = (uses.get(link[0]) ?? 0) - 1
    uses.set(link[0], left)
    const source = kept[link[0]]
    if (left || !source) return
    delete kept[link[0]]
    for (const value of Object.values(source.inputs)) if (isLink(value)) release(value)
  }
  for (const node of Object.values(kept)) {
    if (!INPUT.test(node.class_type) || !isLink(node.inputs.value)) continue
    const link = node.inputs.value
    delete node.inputs.value
    release(link)
  }
  return kept
}

/**
 * @param {Prompt} prompt
 * @returns {string} Enough to tell two versions of one workflow apart; no protection against forgery.
 */
export function fingerprint(prompt) {
  const text = JSON.stringify(withoutTestValues(prompt), (key, value) => (key === "_meta" ? value?.runflow_widgets : value))
  // FNV-1a, twice with different beginnings.
  let one = 0x811c9dc5
  let other = 0x1b873593
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index)
    one = Math.imul(one ^ code, 0x01000193)
    other = Math.imul(other ^ code, 0x01000193)
  }
  return `${(one >>> 0).toString(16)}-${(other >>> 0).toString(16)}-${text.length.toString(16)}`
}
