// The Auto setup button: look what is missing, show it, install what the person approves, restart ComfyUI.
import { app } from "../../scripts/app.js"
import { approvedLines, planView } from "./autosetup_plan.js"
import { jobView } from "./autosetup_progress.js"
import { addButton } from "./deploy_node.js"
import { make, openDialog } from "./dialog.js"
import { graphModels } from "./graph_models.js"
import { ask, listen } from "./server.js"

const EVENT = "runflow.autosetup"
const JOB = "/runflow/autosetup/jobs/current"
const LOOK_EVERY_MS = 2000
const LONG_MS = 90_000

/** @typedef {ReturnType<typeof openDialog>} Frame */

/** @type {Frame | null} */
let open = null

/** The job that this page shows or showed last, and the one whose outcome the person saw. */
const jobs = { followed: "", seen: "" }

/** The one dialog of Auto setup; a second press of the button finds the open one. */
function frame() {
  if (open) return null
  const made = openDialog("Auto setup")
  made.dialog.addEventListener("close", () => (open = null))
  open = made
  return made
}

/** @param {Frame} dialog @param {unknown} error */
function fail(dialog, error) {
  const text = error instanceof Error ? error.message : String(error)
  dialog.show([make("p", { className: "warn" }, text)], [{ label: "Close", value: "close" }])
}

/** Node classes that exist in this page without a part on the server, such as notes. @param {any} graph */
function pageKnows(graph) {
  const types = /** @type {any} */ (globalThis).LiteGraph?.registered_node_types ?? {}
  const parts = [graph, ...(graph.definitions?.subgraphs ?? [])]
  const used = new Set(parts.flatMap((part) => (part.nodes ?? []).map((/** @type {any} */ node) => node.type)))
  return [...used].filter((type) => Object.hasOwn(types, type))
}

/** @param {Frame} dialog */
function begin(dialog) {
  const nodes = make("input", { type: "checkbox", checked: true })
  const models = make("input", { type: "checkbox", checked: true })
  const text = "Looks for what this workflow needs and this ComfyUI lacks, and installs what you approve."
  const quiet =
    "Start asks the sites that the workflow names for sizes and versions. Nothing is downloaded or run before you " +
    "have seen it and approved it."
  const body = [
    make("p", null, text),
    make("label", null, nodes, "Install missing custom nodes"),
    make("label", null, models, "Download missing models"),
    make("p", { className: "quiet" }, quiet),
  ]
  const start = () => look(dialog, nodes.checked, models.checked)
  dialog.show(body, [{ label: "Start", main: true, press: start }, { label: "Cancel" }])
  const main = /** @type {HTMLButtonElement} */ (dialog.dialog.querySelector("button.main"))
  for (const box of [nodes, models])
    box.addEventListener("change", () => (main.disabled = !nodes.checked && !models.checked))
  main.focus()
}

/** @param {Frame} dialog @param {boolean} nodes @param {boolean} models */
async function look(dialog, nodes, models) {
  dialog.show([make("p", { role: "status" }, "Looking for what is missing…")], [{ label: "Cancel" }])
  try {
    const graph = JSON.parse(JSON.stringify((app.rootGraph ?? app.graph).serialize()))
    graph.models = graphModels(graph)
    const body = { graph, page_knows: pageKnows(graph), custom_nodes: nodes, models }
    const plan = await ask("POST", "/runflow/autosetup/plans", body)
    if (!dialog.dialog.open) return
    const view = planView(plan.lines)
    if (!view.boxes.length) {
      dialog.show(view.body, [{ label: "Close", main: true }])
      return
    }
    const install = () => start(dialog, plan.id, approvedLines(view.boxes))
    dialog.show(view.body, [{ label: "Install", main: true, press: install }, { label: "Cancel" }])
    const main = /** @type {HTMLButtonElement} */ (dialog.dialog.querySelector("button.main"))
    view.count(main)
  } catch (error) {
    if (dialog.dialog.open) fail(dialog, error)
  }
}

/** @param {Frame} dialog @param {string} plan @param {{lines: string[], pickles: string[]}} approved */
async function start(dialog, plan, approved) {
  try {
    follow(dialog, await ask("POST", "/runflow/autosetup/jobs", { plan, ...approved }))
  } catch (error) {
    fail(dialog, error)
  }
}

/** Show a job until it is over or the dialog is closed. @param {Frame} dialog @param {any} first */
function follow(dialog, first) {
  jobs.followed = first.id
  const view = jobView(answerPackages)
  const cancel = () => ask("POST", `${JOB}/cancellation`, {}).then(hear, (error) => fail(dialog, error))
  let over = false
  const stop = () => {
    over = true
    end()
    clearInterval(timer)
  }
  /** @param {any} job */
  const hear = (job) => {
    if (over || !job || job.id !== first.id) return
    view.update(job)
    if (job.state === "running") return
    stop()
    finish(dialog, job, view.body)
  }
  const end = listen(EVENT, hear)
  // Events can get lost; asking tells the same. While ComfyUI is busy importing, an answer may be late.
  const timer = setInterval(() => ask("GET", JOB).then((told) => hear(told.job), () => {}), LOOK_EVERY_MS)
  dialog.dialog.addEventListener("close", stop)
  dialog.show(view.body, [
    { label: "Continue in background" },
    { label: "Cancel", press: cancel },
  ])
  hear(first)
}

/** @param {string} line @param {boolean} approved */
function answerPackages(line, approved) {
  ask("POST", `${JOB}/answers`, { line, approved }).catch((error) => alert(`Runflow: ${error.message}`))
}

/** @param {any} job */
const broughtPacks = (job) => job.items.some((/** @type {any} */ item) => item.kind === "custom_node" && item.state === "done")

/** @param {Frame} dialog @param {any} job @param {Node[]} body @param {boolean} [again] Offer to begin anew. */
function finish(dialog, job, body, again = false) {
  jobs.seen = job.id
  const done = job.items.filter((/** @type {any} */ item) => item.state === "done")
  const packs = broughtPacks(job)
  const first = { label: "Restart ComfyUI", main: true, press: () => restart(dialog, false) }
  if (done.length > 0 && !packs) app.refreshComboInNodes?.() // new models show up without a restart
  const look = { label: "Look again", press: () => begin(dialog) }
  const last = { label: "Close", main: !packs }
  dialog.show(body, [...(packs ? [first] : []), ...(again ? [look] : []), last])
  dialog.dialog.querySelector("button")?.focus()
}

/** @param {Frame} dialog @param {boolean} confirmed */
async function restart(dialog, confirmed) {
  try {
    const { process } = await ask("POST", "/runflow/autosetup/restarts", { confirmed })
    await comeBack(dialog, process)
  } catch (error) {
    const busy = /** @type {any} */ (error).code === "BUSY"
    if (!busy) return fail(dialog, error)
    const text = error instanceof Error ? error.message : ""
    const again = { label: "Restart anyway", press: () => restart(dialog, true) }
    const actions = [{ label: "Try again", main: true, press: () => restart(dialog, false) }, again, { label: "Close" }]
    dialog.show([make("p", { className: "warn" }, text)], actions)
  }
}

/** Wait until another process of ComfyUI answers, then load the page anew. @param {Frame} dialog @param {string} gone */
async function comeBack(dialog, gone) {
  const text = make("p", { role: "status" }, "ComfyUI restarts. This page reloads when it is back…")
  const bar = make("progress", { ariaLabel: "Restarting" })
  dialog.show([text, bar], [])
  const began = Date.now()
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500))
    const told = await ask("GET", JOB).catch(() => null)
    if (told && told.process !== gone) break
    if (Date.now() - began > LONG_MS)
      text.textContent = "ComfyUI is not back yet. Its console says what it does; this page keeps waiting."
  }
  location.reload()
}

/** Show how a job ended that nobody looked at, or whose packs wait for the restart. @param {Frame} dialog @param {any} job */
function outcome(dialog, job) {
  const view = jobView(answerPackages)
  view.update(job)
  finish(dialog, job, view.body, true)
}

/** Where a job is at work, or its outcome was not seen yet or waits for the restart, show that; else begin. */
async function press() {
  const dialog = frame()
  if (!dialog) return
  const told = await ask("GET", JOB).catch((error) => fail(dialog, error))
  if (!told) return
  if (told.job?.state === "running") follow(dialog, told.job)
  else if (told.job && (told.job.id !== jobs.seen || broughtPacks(told.job))) outcome(dialog, told.job)
  else begin(dialog)
}

addButton("Auto setup", 3, press)

app.registerExtension({
  name: "Runflow.AutoSetup",
  async setup() {
    listen(EVENT, (job) => {
      if (job.state === "running" || open || job.id !== jobs.followed || job.id === jobs.seen) return
      jobs.followed = ""
      const failed = job.items.some((/** @type {any} */ item) => item.state === "failed")
      const detail = "Press Auto setup to see what became of it."
      app.extensionManager.toast.add({ severity: failed ? "warn" : "success", summary: "Auto setup has ended", detail })
    })
    // A page that was reloaded amid an installation shows it again.
    const told = await ask("GET", JOB).catch(() => null)
    if (told?.job?.state !== "running") return
    const dialog = frame()
    if (dialog) follow(dialog, told.job)
  },
})
