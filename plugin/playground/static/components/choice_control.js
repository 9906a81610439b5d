// The control of a form for an input with a list of values.
import { FieldProblem } from "./controls.js"
import { make } from "./dom.js"
import { isOwn, limitProblem } from "./limits.js"

/** @typedef {import("./types").Control} Control @typedef {import("./types").InputRow} InputRow */
/** @typedef {import("./types").FormTools} FormTools @typedef {import("./types").Value} Value */

/** @param {InputRow} row @param {FormTools} tools @returns {Control} */
export function choiceControl(row, tools) {
  /** @type {Value[]} */
  const values = [null, ...(row.validator_attrs?.choices ?? [])]
  const none = row.is_required ? "Choose…" : "not set: the workflow’s own value"
  const select = make("select", { class: "rf-choice", dir: "auto" })
  const show = () => select.replaceChildren(...values.map((value, at) => make("option", { value: String(at) }, value === null ? none : String(value))))
  show()
  select.addEventListener("change", tools.changed)
  return {
    element: select,
    focusable: select,
    read() {
      const value = values[select.selectedIndex] ?? null
      if (value === null && row.is_required) throw new FieldProblem("Choose one.")
      const problem = value !== null && !isOwn(row, value) && limitProblem(row, /** @type {string | number} */ (value))
      if (problem) throw new FieldProblem(problem)
      return value
    },
    write(value) {
      if (!values.includes(value)) {
        // What the workflow uses by itself need not be one of them.
        values.push(value)
        show()
      }
      select.selectedIndex = values.indexOf(value)
    },
  }
}
