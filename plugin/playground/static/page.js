// The playground's page: the captured workflow's form, its runs, and what changes about them.
import { clock, make } from "./components/dom.js"
import { RunflowForm } from "./components/form.js"
import { RunflowRun, STATUS } from "./components/run.js"
import { address, ask, inputAddress, Refusal, upload } from "./server.js"

/** @typedef {import("./components/types").RunRecord} RunRecord */

const SLUG = decodeURIComponent(location.pathname.split("/").pop() ?? "")
const CAPTURE = `runflow/playground/captures/${SLUG}`
const DRAFT = `runflow-playground:${SLUG}`
const RECAPTURE_SECONDS = 4
const RETRY_SECONDS = 3

/** @param {string} id */
const get = (id) => /** @type {HTMLElement} */ (document.getElementById(id))
const form = /** @type {RunflowForm} */ (get("form"))
const shown = /** @type {RunflowRun} */ (get("run"))
const tabs = get("tabs")

/** @type {Map<string, RunRecord>} */
const runs = new Map()
/** @type {string | null} */
let selected = null
/** @type {any} */
let capture = null

/** @param {string} text */
function say(text) {
  get("said").textContent = text
  get("said").hidden = !text
}

/** @param {any} fresh */
function showCapture(fresh) {
  const changed = fresh.captured_at !== capture?.captured_at
  const before = capture ? form.edits : draft()
  capture = fresh
  get("stale").hidden = !fresh.stale
  if (!changed) return
  for (const id of ["title", "columns"]) get(id).hidden = false
  get("missing").hidden = true
  get("name").textContent = fresh.name
  get("facts").textContent = `${fresh.nodes} ${fresh.nodes === 1 ? "node" : "nodes"}, captured ${clock(fresh.captured_at)}`
  document.title = `${fresh.name} · Local Playground`
  const workflow = /** @type {HTMLAnchorElement} */ (get("workflow"))
  workflow.href = address(`${CAPTURE}/workflow`)
  showWarnings(fresh.warnings)
  form.inputs = fresh.inputs
  if (before) form.edits = before
  shown.labels = Object.fromEntries(fresh.outputs.map((/** @type {any} */ row) => [row.name, row.display_name]))
}

/** @param {{message: string, next_step: string}[]} warnings */
function showWarnings(warnings) {
  const title = warnings.length === 1 ? "One thing to know about this workflow" : `${warnings.length} things to know about this workflow`
  const texts = warnings.map((each) => make("p", null, `${each.message} ${each.next_step}`))
  get("warnings").hidden = !warnings.length
  get("warnings").replaceChildren(make("summary", null, title), ...texts)
}

/** @returns {any} What was filled in before the page was loaded again. */
function draft() {
  try {
    return JSON.parse(sessionStorage.getItem(DRAFT) ?? "null")
  } catch {
    return null
  }
}

/** @param {RunRecord} run */
function showRun(run) {
  for (const file of run.output?.outputs ?? []) file.url = address(file.url)
  if (run.preview_url) run.preview_url = address(run.preview_url)
  const before = runs.get(run.id)
  const isNew = !before
  // The one that is shown speaks for itself.
  if (before && !before.is_terminal && run.is_terminal && selected !== run.id)
    get("ended").textContent = `Run ${run.number}: ${STATUS[run.status_code]}.`
  runs.set(run.id, run)
  if (isNew) tabs.prepend(makeTab(run))
  const tab = get(`tab-${run.id}`)
  const status = STATUS[run.status_code]
  const dot = /** @type {HTMLElement} */ (tab.firstElementChild)
  dot.className = `dot ${run.status_code}`
  tab.setAttribute("aria-label", `Run ${run.number}, ${status}`)
  get("empty").hidden = true
  if (selected === run.id) shown.run = run
}

/** @param {RunRecord} run */
function makeTab(run) {
  const tab = make("button", { type: "button", class: "tab", role: "tab", id: `tab-${run.id}`, tabIndex: -1 })
  tab.append(make("span", { class: "dot" }), `Run ${run.number}`)
  tab.setAttribute("aria-controls", "panel")
  tab.setAttribute("aria-selected", "false")
  tab.addEventListener("click", () => select(run.id))
  return tab
}

/** @param {string} id */
function select(id) {
  selected = id
  for (const tab of /** @type {NodeListOf<HTMLElement>} */ (tabs.querySelectorAll(".tab"))) {
    const mine = tab.id === `tab-${id}`
    tab.setAttribute("aria-selected", String(mine))
    tab.tabIndex = mine ? 0 : -1
  }
  get("panel").hidden = false
  get("runs").scrollTop = 0
  get("panel").setAttribute("aria-labelledby", `tab-${id}`)
  shown.run = runs.get(id) ?? null
}

tabs.addEventListener("keydown", (event) => {
  const all = /** @type {HTMLElement[]} */ ([...tabs.querySelectorAll(".tab")])
  const at = all.findIndex((tab) => tab.id === `tab-${selected}`)
  const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }
  const to = moves[/** @type {keyof typeof moves} */ (event.key)]
  if (to === undefined) return
  event.preventDefault()
  const next = all[(to + all.length) % all.length]
  next.click()
  next.focus()
})

form.upload = upload
form.preview = inputAddress
form.addEventListener("runflow-change", () => {
  try {
    sessionStorage.setItem(DRAFT, JSON.stringify(form.edits))
  } catch {
    // The browser keeps nothing here; then a reload starts with the defaults.
  }
})
form.addEventListener("runflow-run", async (event) => {
  say("")
  try {
    const { values } = /** @type {CustomEvent} */ (event).detail
    const run = await ask("POST", `${CAPTURE}/runs`, { input: values })
    showRun(run)
    select(run.id)
    if (matchMedia("(max-width: 860px)").matches) get("runs-title").scrollIntoView({ block: "start" })
  } catch (error) {
    const errors = error instanceof Refusal && Array.isArray(error.errors) ? error.errors : []
    form.showProblems(Object.fromEntries(errors.map((each) => [each.loc.at(-1), each.msg])))
    if (!errors.length) say(error instanceof Error ? error.message : String(error))
  }
})
shown.addEventListener("runflow-cancel", (event) => {
  const { run } = /** @type {CustomEvent} */ (event).detail
  ask("POST", `runflow/playground/runs/${run.id}/cancellation`, {}).then(showRun, (error) => say(error.message))
})
shown.addEventListener("runflow-reuse", (event) => {
  form.values = /** @type {CustomEvent} */ (event).detail.run.input
  form.scrollIntoView({ block: "nearest" })
})

get("recapture").addEventListener("click", async () => {
  const button = /** @type {HTMLButtonElement} */ (get("recapture"))
  const before = capture.captured_at
  const byHand = "Open the workflow in the editor and press Local Playground on its Runflow Deploy node."
  button.disabled = true
  say("")
  try {
    const { asked } = await ask("POST", `${CAPTURE}/recaptures`, {})
    for (let waited = 0; asked && waited < RECAPTURE_SECONDS * 10 && capture.captured_at === before; waited += 1)
      await new Promise((resolve) => setTimeout(resolve, 100))
    say(capture.captured_at === before ? `No editor shows this workflow now. ${byHand}` : "")
  } catch (error) {
    say(error instanceof Error ? error.message : String(error))
  }
  button.disabled = false
})

// A file that misses its field must not replace the page.
for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault())

/** Follow the capture and its runs; everything comes again after each interruption. */
function follow() {
  const events = new EventSource(address(`${CAPTURE}/events`))
  /** @param {string} type @param {(data: any) => void} listener */
  const on = (type, listener) => events.addEventListener(type, (event) => listener(JSON.parse(event.data)))
  on("capture", showCapture)
  on("run", showRun)
  on("ready", () => {
    get("offline").hidden = true
    const newest = [...runs.keys()].at(-1)
    if (selected === null && newest) select(newest)
  })
  const leave = () => {
    // Browsers allow few connections to one server, and another tab may need this one.
    if (!document.hidden || [...runs.values()].some((run) => !run.is_terminal)) return
    events.close()
    document.removeEventListener("visibilitychange", leave)
    document.addEventListener("visibilitychange", follow, { once: true })
  }
  document.addEventListener("visibilitychange", leave)
  events.addEventListener("error", async () => {
    get("offline").hidden = false
    if (events.readyState !== EventSource.CLOSED) return // it tries again by itself
    document.removeEventListener("visibilitychange", leave)
    try {
      await ask("GET", CAPTURE)
    } catch (error) {
      if (error instanceof Refusal && [403, 404, 409].includes(error.status)) return showMissing(error.message)
    }
    setTimeout(follow, RETRY_SECONDS * 1000)
  })
}

/** @param {string} message */
function showMissing(message) {
  for (const id of ["title", "columns", "offline"]) get(id).hidden = true
  const again = make("a", { class: "rf-button rf-main", href: address("") }, "Open the editor")
  get("missing").replaceChildren(make("h1", null, "Nothing captured here"), make("p", null, message), again)
  get("missing").hidden = false
}

follow()
