// <runflow-form>: a form from the inputs of an interface; it reports values by their names.
import { choiceControl } from "./choice_control.js"
import { FieldProblem, numberControl, switchControl, textControl } from "./controls.js"
import { make, uniqueId } from "./dom.js"
import { fileControl } from "./file_control.js"
import { described, isOwn, limitProblem, usedDefault } from "./limits.js"

/** @typedef {import("./types").InputRow} InputRow @typedef {import("./types").Value} Value */
/** @typedef {import("./types").Control} Control @typedef {import("./types").FormTools} FormTools */
/** @typedef {{row: InputRow, control: Control, frame: HTMLElement, problem: HTMLElement}} Field */

const CONTROLS = {
  string: textControl,
  int: numberControl,
  float: numberControl,
  boolean: switchControl,
  image: fileControl,
  file: fileControl,
}

/**
 * Set `upload` and `preview`, then `inputs`. Events: `runflow-run` with `{values}` when a complete form is sent,
 * `runflow-change` with `{values}` (as far as they can be read) while it is filled in.
 */
export class RunflowForm extends HTMLElement {
  /** @type {import("./types").Upload} */
  upload = () => Promise.reject(new Error("Files cannot be stored here."))
  /**
   * The address of a stored picture.
   * @type {FormTools["preview"]}
   */
  preview = () => null
  /** @type {Field[]} */
  #fields = []
  #submit = make("button", { type: "submit", class: "rf-button rf-main" }, "Run")
  #summary = make("p", { class: "rf-problem", role: "alert", hidden: true })
  #body = make("div", { class: "rf-fields" })

  connectedCallback() {
    if (this.firstChild) return
    const form = make("form", { noValidate: true, class: "rf-form" })
    form.append(this.#body, make("div", { class: "rf-actions" }, this.#summary, this.#submit))
    form.addEventListener("submit", (event) => {
      event.preventDefault()
      this.#send()
    })
    form.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit()
    })
    this.append(form)
  }

  /** Show these inputs; fields start with their defaults. @param {InputRow[]} rows */
  set inputs(rows) {
    /** @type {FormTools} */
    const tools = {
      upload: (...given) => this.upload(...given),
      preview: (value, row) => this.preview(value, row),
      changed: () => {
        this.#forgetProblems()
        this.dispatchEvent(new CustomEvent("runflow-change", { detail: { values: this.values } }))
      },
    }
    this.#fields = rows.map((row) => makeField(row, tools))
    const none = make("p", { class: "rf-quiet" }, "This workflow takes no inputs.")
    this.#body.replaceChildren(...(rows.length ? this.#fields.map((field) => field.frame) : [none]))
    this.#forgetProblems()
  }

  /** The values as far as they can be read; omitted ones are absent. */
  get values() {
    /** @type {Record<string, Value>} */
    const values = {}
    for (const { row, control } of this.#fields) {
      try {
        const value = control.read()
        if (value !== null) values[row.name] = value
      } catch (error) {
        if (!(error instanceof FieldProblem)) throw error
      }
    }
    return values
  }

  /** Fill the fields that are named; an absent one is emptied. */
  set values(values) {
    for (const { row, control } of this.#fields) control.write(values[row.name] ?? null)
    this.#forgetProblems()
  }

  /** What differs from the defaults: kept when the interface changes, whose new defaults then show. */
  get edits() {
    const values = this.values
    const changed = this.#fields.filter(({ row }) => (values[row.name] ?? null) !== usedDefault(row))
    return Object.fromEntries(changed.map(({ row }) => [row.name, values[row.name] ?? null]))
  }

  set edits(edits) {
    for (const { row, control } of this.#fields) if (row.name in edits) control.write(edits[row.name])
    this.#forgetProblems()
  }

  /** Show what is wrong with some fields, and go to the first. @param {Record<string, string>} problems by name */
  showProblems(problems) {
    this.#forgetProblems()
    const wrong = this.#fields.filter(({ row }) => row.name in problems)
    for (const field of wrong) mark(field, problems[field.row.name])
    if (!wrong.length) return
    this.#summary.textContent =
      wrong.length === 1 ? `Please look at “${wrong[0].row.display_name}”.` : `Please look at ${wrong.length} fields.`
    this.#summary.hidden = false
    wrong[0].control.focusable.focus()
  }

  #forgetProblems() {
    this.#summary.hidden = true
    for (const field of this.#fields) mark(field, "")
  }

  /** The values without those of the workflow's own that are refused of callers: it uses them when nothing is sent. */
  get #sendable() {
    const { values } = this
    const own = this.#fields.filter(({ row }) => isOwn(row, values[row.name]) && limitProblem(row, /** @type {any} */ (values[row.name])))
    for (const { row } of own) delete values[row.name]
    return values
  }

  #send() {
    /** @type {Record<string, string>} */
    const problems = {}
    for (const { row, control } of this.#fields) {
      try {
        control.read()
      } catch (error) {
        if (!(error instanceof FieldProblem)) throw error
        problems[row.name] = error.message
      }
    }
    if (Object.keys(problems).length) this.showProblems(problems)
    else this.dispatchEvent(new CustomEvent("runflow-run", { detail: { values: this.#sendable } }))
  }
}

/** @param {InputRow} row @param {FormTools} tools @returns {Field} */
function makeField(row, tools) {
  const kind = row.validator_attrs?.choices?.length ? choiceControl : CONTROLS[row.variable_type_code]
  const control = kind(row, tools)
  const id = uniqueId("rf-field")
  control.focusable.id = id
  control.focusable.setAttribute("aria-describedby", `${id}-help ${id}-problem`)
  if (row.is_required) control.focusable.setAttribute("aria-required", "true")
  const label = make("label", { htmlFor: id, class: "rf-label", dir: "auto" }, row.display_name || row.name)
  const key = make("span", { class: "rf-key" }, make("code", null, row.name), ` ${row.variable_type_code}`)
  const optional = row.is_required ? null : make("span", { class: "rf-optional" }, "optional")
  const told = [row.description, described(row)].filter(Boolean)
  const help = make("p", { class: "rf-help", dir: "auto", id: `${id}-help`, hidden: !told.length }, told.join(" "))
  const problem = make("p", { class: "rf-problem", id: `${id}-problem`, hidden: true })
  const frame = make("div", { class: "rf-field" }, make("div", { class: "rf-head" }, label, optional, key))
  frame.append(help, control.element, problem)
  const field = { row, control, frame, problem }
  frame.addEventListener("rf-problem", (event) => {
    // Spoken at once: nobody pressed Run, so no summary speaks and the focus stays.
    problem.setAttribute("role", "alert")
    mark(field, /** @type {CustomEvent} */ (event).detail)
  })
  control.write(usedDefault(row))
  return field
}

/** @param {Field} field @param {string} text */
function mark(field, text) {
  if (!text) field.problem.removeAttribute("role")
  field.problem.textContent = text
  field.problem.hidden = !text
  field.frame.classList.toggle("rf-wrong", Boolean(text))
  if (text) field.control.focusable.setAttribute("aria-invalid", "true")
  else field.control.focusable.removeAttribute("aria-invalid")
}

customElements.define("runflow-form", RunflowForm)
