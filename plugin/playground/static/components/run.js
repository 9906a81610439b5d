// <runflow-run>: one run: its state and progress, its files or its error, and the values it was given.
import { clock, duration, make } from "./dom.js"
import { RunflowOutput } from "./output.js"

/** @typedef {import("./types").RunRecord} RunRecord */

export const STATUS = {
  queued: "Waiting",
  dispatching: "Starting",
  running: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
  cancelled: "Cancelled",
}

/**
 * Set `labels` (of outputs, by `output_id`) and `run`, as often as it changes. Events: `runflow-cancel` and
 * `runflow-reuse` (take its values into the form), both with `{run}`.
 */
export class RunflowRun extends HTMLElement {
  /** @type {Record<string, string>} */
  labels = {}
  /** @type {RunRecord | null} */
  #run = null
  #status = make("span", { class: "rf-status", tabIndex: -1 })
  #when = make("span", { class: "rf-quiet" })
  #cancel = make("button", { type: "button", class: "rf-button" }, "Cancel")
  #reuse = make("button", { type: "button", class: "rf-button" }, "Use these inputs")
  #bar = make("progress", { class: "rf-bar", "aria-label": "Progress" })
  #doing = make("p", { class: "rf-doing" })
  #preview = make("img", { class: "rf-preview", alt: "Unfinished picture", hidden: true })
  #live = make("p", { class: "rf-hidden", role: "status", "aria-live": "polite" })
  #result = make("div", { class: "rf-result" })
  #input = make("details", { class: "rf-input" })
  #shown = ""

  connectedCallback() {
    if (this.firstChild) return
    const head = make("div", { class: "rf-run-head" }, this.#status, this.#when, this.#cancel, this.#reuse)
    this.append(head, this.#bar, this.#doing, this.#preview, this.#live, this.#result, this.#input)
    this.#cancel.addEventListener("click", () => {
      if (!this.#run?.cancelling) this.#tell("runflow-cancel")
    })
    this.#reuse.addEventListener("click", () => this.#tell("runflow-reuse"))
  }

  get run() {
    return this.#run
  }

  set run(run) {
    this.#run = run
    if (run) this.#render(run)
  }

  /** @param {string} type */
  #tell(type) {
    this.dispatchEvent(new CustomEvent(type, { detail: { run: this.#run }, bubbles: true }))
  }

  /** @param {RunRecord} run */
  #render(run) {
    const word = STATUS[run.status_code]
    this.#status.textContent = run.cancelling ? "Stopping" : word
    this.#status.className = `rf-status rf-${run.status_code}`
    const took = run.is_terminal && run.duration_ms !== null ? ` · ${duration(run.duration_ms)}` : ""
    this.#when.textContent = `${clock(run.created_at)}${took}`
    // A button that goes away must not take the keyboard's place with it.
    if (run.is_terminal && document.activeElement === this.#cancel) this.#status.focus()
    this.#cancel.hidden = run.is_terminal
    this.#cancel.setAttribute("aria-disabled", String(Boolean(run.cancelling)))
    this.#reuse.hidden = !Object.keys(run.input).length
    this.#progress(run)
    const announced = run.is_terminal && run.error ? `${word}. ${run.error.message}` : word
    if (this.#live.textContent !== announced) this.#live.textContent = announced
    // Files and values are built once: a video that plays must not start again with every event.
    const state = `${run.id} ${run.status_code}`
    if (state === this.#shown) return
    this.#shown = state
    this.#result.replaceChildren(...this.#results(run))
    this.#input.replaceChildren(make("summary", null, "Inputs of this run"), values(run))
    this.#input.hidden = !Object.keys(run.input).length
  }

  /** @param {RunRecord} run */
  #progress(run) {
    this.#bar.hidden = this.#doing.hidden = run.is_terminal
    const preview = run.status_code === "running" ? run.preview_url : null
    this.#preview.hidden = !preview
    if (!preview) this.#preview.removeAttribute("src")
    else if (this.#preview.getAttribute("src") !== preview) this.#preview.src = preview
    if (run.is_terminal) return
    const total = run.nodes_total ?? 0
    const now = run.progress
    const steps = now?.max ? (now.value ?? 0) / now.max : 0
    if (run.status_code === "running" && total) {
      this.#bar.max = total
      this.#bar.value = Math.min(total, (run.nodes_completed ?? 0) + steps)
    } else this.#bar.removeAttribute("value")
    const node = now ? `${now.title || now.node_type || "node"} (node ${now.node_id})` : ""
    const step = now?.max && now.max > 1 ? `, step ${now.value} of ${now.max}` : ""
    const counted = total ? `${run.nodes_completed ?? 0} of ${total} nodes done` : ""
    const waiting = run.waiting_reason ?? "Waiting for its turn."
    this.#doing.textContent =
      run.status_code === "running" ? [node + step, counted].filter(Boolean).join(" · ") : waiting
  }

  /** @param {RunRecord} run @returns {HTMLElement[]} */
  #results(run) {
    if (run.error) return [errorCard(run.error)]
    if (run.status_code === "cancelled") return [make("p", { class: "rf-quiet" }, "This run was stopped. It has no result.")]
    if (!run.output) return []
    if (!run.output.outputs.length) return [make("p", { class: "rf-quiet" }, "The run ended well and saved no file.")]
    /** @type {Record<string, RunflowOutput[]>} */
    const batches = {}
    const elements = run.output.outputs.map((file) => {
      const label = this.labels[file.output_id] || file.output_id
      const element = Object.assign(new RunflowOutput(), { output: file, label })
      ;(batches[file.output_id] ??= []).push(element)
      return element
    })
    for (const batch of Object.values(batches).filter((each) => each.length > 1))
      for (const [index, element] of batch.entries()) {
        element.label += ` ${index + 1} of ${batch.length}`
        element.classList.toggle("rf-of-batch", batch.every((each) => each.output?.content_type.startsWith("image/")))
      }
    return elements
  }
}

/** @param {NonNullable<RunRecord["error"]>} error */
function errorCard(error) {
  const details = error.details ?? {}
  /** @type {[string, string][]} */
  const facts = []
  const title = details.title && details.title !== error.node_type ? `“${details.title}”` : ""
  const node = [`node ${error.node_id}`, title, error.node_type]
  if (error.node_id) facts.push(["Node", node.filter(Boolean).join(" ")])
  if (details.field) facts.push(["Field", details.field])
  for (const each of details.inputs ?? []) facts.push(["Input", `${each.name} (goes to “${each.field}”)`])
  facts.push(["Code", error.code])
  const list = make("dl", { class: "rf-facts" })
  for (const [name, text] of facts) list.append(make("dt", null, name), make("dd", null, text))
  const card = make("section", { class: "rf-error", "aria-label": "Error" }, make("p", { dir: "auto" }, error.message), list)
  for (const other of (details.problems ?? []).slice(1)) card.append(make("p", null, other.message))
  if (details.trace) {
    // It scrolls, so the keyboard must reach it.
    const trace = make("pre", { tabIndex: 0, role: "group", "aria-label": "Traceback" }, details.trace)
    card.append(make("details", null, make("summary", null, "ComfyUI’s own words"), trace))
  }
  return card
}

/** @param {RunRecord} run */
function values(run) {
  const list = make("dl", { class: "rf-facts" })
  for (const [name, value] of Object.entries(run.input))
    list.append(make("dt", null, name), make("dd", { dir: "auto" }, value === null ? "not set" : String(value)))
  return list
}

customElements.define("runflow-run", RunflowRun)
