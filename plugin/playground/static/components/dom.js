// Small things that every component needs: elements, sizes, times.

/**
 * Make an element. Strings become text, never markup.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any> | null} [properties] `class` and names with a hyphen become attributes.
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined) continue
    if (name === "class" || name.includes("-") || name === "role") element.setAttribute(name, value)
    else Object.assign(element, { [name]: value })
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false))
  return element
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return ""
  const units = ["bytes", "kB", "MB", "GB", "TB"]
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

/** @param {number | null | undefined} milliseconds */
export function duration(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return ""
  if (milliseconds < 1000) return `${Math.max(1, Math.round(milliseconds))} ms`
  const seconds = milliseconds / 1000
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}

/**
 * A time of day; with the date unless it is today's.
 * @param {string} time ISO 8601
 */
export function clock(time) {
  const date = new Date(time)
  const today = date.toDateString() === new Date().toDateString()
  return date.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" })
}

let last = 0

/** @param {string} prefix @returns {string} An id that no other element of the page has. */
export function uniqueId(prefix) {
  last += 1
  return `${prefix}-${last}`
}
