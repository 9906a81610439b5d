// The controls of a form for texts, numbers and switches.
import { make } from "./dom.js"
import { isOwn, limitProblem, usedDefault } from "./limits.js"

/** @typedef {import("./types").Control} Control @typedef {import("./types").InputRow} InputRow */
/** @typedef {import("./types").FormTools} FormTools @typedef {import("./types").Value} Value */

/** What a person has to change in a field. */
export class FieldProblem extends Error {}

/** @param {InputRow} row @param {FormTools} tools @returns {Control} */
export function textControl(row, tools) {
  const area = make("textarea", { class: "rf-text", rows: 3, spellcheck: true, dir: "auto" })
  area.addEventListener("input", () => {
    fit(area)
    tools.changed()
  })
  return {
    element: area,
    focusable: area,
    read() {
      const problem = area.value !== "" && !isOwn(row, area.value) && limitProblem(row, area.value)
      if (problem) throw new FieldProblem(problem)
      if (area.value !== "") return area.value
      if (row.is_required) throw new FieldProblem("Write a text.")
      return null
    },
    write(value) {
      area.value = value === null ? "" : String(value)
      requestAnimationFrame(() => fit(area))
    },
  }
}

/** Where the browser does not grow the field by itself. @param {HTMLTextAreaElement} area */
function fit(area) {
  if (CSS.supports("field-sizing", "content") || !area.scrollHeight) return
  area.style.height = "auto"
  area.style.height = `${area.scrollHeight + 2}px`
}

const INTEGER = /^[+-]?\d+$/
const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i

/** The decimal sign of this browser's language; the point is taken too. */
const DECIMAL = new Intl.NumberFormat().formatToParts(1.5).find((part) => part.type === "decimal")?.value ?? "."

/**
 * A text field: number fields of browsers drop what they do not know, so that "0,5" becomes 5 without a word.
 * @param {InputRow} row @param {FormTools} tools @returns {Control}
 */
export function numberControl(row, tools) {
  const whole = row.variable_type_code === "int"
  const wanted = whole ? "Write an integer." : `Write a number, such as 0${DECIMAL}5.`
  const input = make("input", { type: "text", class: "rf-number", autocomplete: "off", spellcheck: false })
  input.inputMode = whole ? "numeric" : "decimal"
  const text = () => (whole ? input.value.trim() : input.value.trim().replace(DECIMAL, "."))
  /** @param {string} written */
  const put = (written) => {
    input.value = written
    tools.changed()
  }
  input.addEventListener("input", tools.changed)
  input.addEventListener("keydown", (event) => {
    const up = { ArrowUp: 1n, ArrowDown: -1n }[event.key]
    if (!up || !INTEGER.test(text())) return
    event.preventDefault()
    const { step, min, max } = row.validator_attrs ?? {}
    const next = BigInt(text().replace("+", "")) + up * (Number.isInteger(step) ? BigInt(step ?? 1) : 1n)
    if ((min === undefined || next >= min) && (max === undefined || next <= max)) put(String(next))
  })
  const element = make("div", { class: "rf-row" }, input)
  if (whole && /seed/i.test(row.name)) {
    const dice = make("button", { type: "button", class: "rf-button" }, "Random")
    dice.setAttribute("aria-label", `Random ${row.display_name || row.name}`)
    dice.addEventListener("click", () => {
      put(String(randomInteger(row.validator_attrs ?? {})))
    })
    element.append(dice)
  }
  return {
    element,
    focusable: input,
    read() {
      if (text() === "" && !row.is_required) return null
      if (!(whole ? INTEGER : NUMBER).test(text())) throw new FieldProblem(wanted)
      const number = Number(text())
      const problem = !isOwn(row, number) && limitProblem(row, number)
      if (problem) throw new FieldProblem(problem)
      // Seeds use 64 bits, more than a JavaScript number holds: those travel as text, which the API takes too.
      return whole && !Number.isSafeInteger(number) ? text() : number
    },
    write(value) {
      input.value = value === null ? "" : String(value)
    },
  }
}

/** Any integer that a form writes exactly and the limits allow. @param {import("./types").Limits} limits */
function randomInteger({ min, max, step = 1 }) {
  const most = Math.min(max ?? Infinity, Number.MAX_SAFE_INTEGER)
  const least = Math.max(min ?? Math.min(0, most), Number.MIN_SAFE_INTEGER)
  const [high, low] = crypto.getRandomValues(new Uint32Array(2))
  const steps = Math.max(0, Math.floor((most - least) / step))
  return least + step * (((high & 0x1fffff) * 2 ** 32 + low) % (steps + 1))
}

/** A switch; an optional one without a default can also be left to the workflow. @param {InputRow} row @param {FormTools} tools @returns {Control} */
export function switchControl(row, tools) {
  const input = make("input", { type: "checkbox", class: "rf-switch", role: "switch" })
  const word = make("span", { class: "rf-switch-word", "aria-hidden": "true" })
  const clear = make("button", { type: "button", class: "rf-link" }, "Leave it to the workflow")
  const optional = !row.is_required
  let unset = optional
  const show = () => {
    word.textContent = unset ? "not set: the workflow’s own value" : input.checked ? "on" : "off"
    clear.hidden = !optional || unset
  }
  input.addEventListener("change", () => {
    unset = false
    show()
    tools.changed()
  })
  clear.addEventListener("click", () => {
    unset = true
    input.checked = usedDefault(row) === true
    show()
    input.focus()
    tools.changed()
  })
  show()
  return {
    element: make("div", { class: "rf-row" }, input, word, clear),
    focusable: input,
    read: () => (unset ? null : input.checked),
    write(value) {
      unset = optional && value === null
      input.checked = value === true
      show()
    },
  }
}
