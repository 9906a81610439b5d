// The Deploy button: prepare on the server, show what would go out, send it, say how it ended.
import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"
import { capture } from "./capture.js"
import { addButton, takeSecrets, widget } from "./deploy_node.js"
import { placeOf, showDeployed } from "./deploy_panel.js"
import { choose, make } from "./dialog.js"
import { chooseModels, confirmDeploy } from "./deploy_summary.js"
import { ask, listen, pageId } from "./server.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */
/** @typedef {import("../../scripts/app.js").OpenWorkflow} OpenWorkflow */

const EVENT = "runflow.deploy"
const LABEL = "Deploy"
const LOOK_EVERY_MS = 2000
const UNANSWERED = 15
const DOUBLE_CLICK_MS = 600
const STEP_FITS = 24
const OVER = ["ready", "choosing", "done", "failed", "cancelled"]

/** The jobs under way; an empty id while there is none yet. @type {Map<GraphNode, {id: string, since: number}>} */
const busy = new Map()

/**
 * Show on the node how far it is; an empty text puts the button back.
 * @param {GraphNode} node
 * @param {string} text
 * @param {number} [part] 0 to 1
 */
function show(node, text, part) {
  const button = widget(node, LABEL)
  if (button) button.label = text || LABEL
  Object.assign(node, { progress: part || undefined })
  node.setDirtyCanvas(true, true)
}

/**
 * Follow a job until it waits for the person or is over, by events, and by asking where events get lost.
 * @param {string} id
 * @param {GraphNode} node
 * @returns {Promise<any>}
 */
function follow(id, node) {
  return new Promise((resolve, reject) => {
    const deafen = listen(EVENT, (job) => job.id === id && hear(job))
    const look = () => ask("GET", `/runflow/deploy/jobs/${id}`).then(hear, fail)
    const timer = setInterval(look, LOOK_EVERY_MS)
    let over = false
    let unanswered = 0
    const stop = () => {
      over = true
      deafen()
      clearInterval(timer)
    }
    /** @param {any} job */
    const hear = (job) => {
      if (over) return // an answer that was on its way when an event overtook it
      unanswered = 0
      const part = job.total ? job.done / job.total : 0
      const percent = job.total ? ` ${Math.floor(part * 100)} %` : ""
      const step = job.step.length > STEP_FITS ? `${job.step.slice(0, STEP_FITS)}…` : job.step
      show(node, `${step}${percent} (stop)`, part)
      if (!OVER.includes(job.state)) return
      stop()
      resolve(job)
    }
    /** @param {any} error */
    const fail = (error) => {
      // A connection that breaks for a moment does not end what goes on in ComfyUI.
      unanswered += 1
      if (error.status === 0 && unanswered < UNANSWERED) return
      stop()
      reject(error)
    }
    look()
  })
}

/**
 * Let what Auto setup needs on another machine travel with the workflow file. It is no step that a person could undo.
 * @param {any} manifest
 * @param {OpenWorkflow | null} workflow The tab that was deployed; another one may be shown by now.
 */
function keepManifest(manifest, workflow) {
  const { activeWorkflow } = app.extensionManager.workflow
  if (activeWorkflow === workflow) {
    const graph = app.rootGraph ?? app.graph
    graph.extra = { ...graph.extra, runflow: manifest }
  }
  const tracker = workflow?.changeTracker
  if (!tracker?.activeState) return
  tracker.activeState.extra = { ...tracker.activeState.extra, runflow: manifest }
  tracker.updateModified?.()
}

/**
 * @param {GraphNode} node
 * @param {string} place
 * @param {any} result
 * @param {string[]} warnings Those that the person has seen in the summary.
 * @param {OpenWorkflow | null} workflow
 */
function succeed(node, place, result, warnings, workflow) {
  const { manifest: _, ...deployed } = result
  showDeployed(node, place, { ...deployed, warnings: [...warnings, ...result.warnings] })
  keepManifest(result.manifest, workflow)
  const same = result.unchanged ? " (nothing has changed)" : ""
  const version = result.version ? `, version ${result.version}${same}` : ""
  const toast = app.extensionManager.toast
  const detail = `${result.path}${version}\nCall it: POST ${result.url}`
  const tested = `${result.path}, version ${result.testing}, serves once its examples have succeeded; the Deploy node tells how that goes.`
  if (result.testing) toast.add({ severity: "info", summary: "Deployed, and being tested", detail: tested, life: 12000 })
  else if (result.can_run) toast.add({ severity: "success", summary: "Deployed ✓", detail, life: 12000 })
  else toast.add({ severity: "warn", summary: "Deployed, but no worker can run it yet", detail })
  if (result.warnings.length)
    toast.add({ severity: "warn", summary: "Runflow: please look at this", detail: result.warnings.join("\n") })
}

/**
 * Whether a job got where it should; one that was stopped is told, one that failed is thrown.
 * @param {any} job
 */
function end(job) {
  if (job.state === "failed") throw Object.assign(new Error(job.error), { unreachable: job.unreachable })
  if (job.state !== "cancelled") return true
  const detail = job.published_perhaps ? "It may have been published already." : "Nothing was published."
  app.extensionManager.toast.add({ severity: "info", summary: "Runflow: stopped", detail, life: 5000 })
  return false
}

/** @param {unknown} error */
function tell(error) {
  alert(`Runflow: ${error instanceof Error ? error.message : error}`)
}

/**
 * Say that the server was not there, which another try may change.
 * @param {Error} error
 * @returns {Promise<boolean>} Whether to try again.
 */
async function tellUnreachable(error) {
  const text = error.message.split("\n").map((line) => make("p", null, line))
  const actions = [
    { label: "Try again", value: "again", main: true },
    { label: "Close", value: "close" },
  ]
  const chosen = await choose("The server could not be reached", text, actions, (dialog) => {
    /** @type {HTMLButtonElement} */ (dialog.querySelector("button[value=again]")).focus()
  })
  return chosen === "again"
}

/** @param {GraphNode} node */
async function deploy(node) {
  const running = busy.get(node)
  if (running) {
    const again = performance.now() - running.since > DOUBLE_CLICK_MS
    if (running.id && again) await ask("DELETE", `/runflow/deploy/jobs/${running.id}`).catch(tell)
    return
  }
  const since = performance.now()
  let again = false
  busy.set(node, { id: "", since })
  try {
    show(node, "Preparing…")
    const { host, api_key } = takeSecrets(node)
    const endpoint_name = String(widget(node, "endpoint_name")?.value ?? "")
    const place = placeOf(node)
    const workflow = app.extensionManager.workflow.activeWorkflow
    const body = { endpoint_name, host, api_key, client_id: pageId(), ...(await capture()) }
    const started = await ask("POST", "/runflow/deploy/jobs", body)
    busy.set(node, { id: started.id, since })
    const ready = await follow(started.id, node)
    if (!end(ready)) return
    show(node, "Waiting for you…")
    const agreed = await confirmDeploy(ready.summary)
    if (!agreed) {
      await ask("DELETE", `/runflow/deploy/jobs/${started.id}`)
      return
    }
    show(node, "Deploying…")
    const confirmed = { origin: ready.summary.origin, ...agreed }
    await ask("POST", `/runflow/deploy/jobs/${started.id}/confirmation`, confirmed)
    let ended = await follow(started.id, node)
    if (ended.state === "choosing") {
      show(node, "Waiting for you…")
      const paths = await chooseModels(ended.offers, ready.summary)
      if (!paths) {
        await ask("DELETE", `/runflow/deploy/jobs/${started.id}`)
        return
      }
      await ask("POST", `/runflow/deploy/jobs/${started.id}/models`, { paths })
      ended = await follow(started.id, node)
    }
    if (end(ended)) succeed(node, place, ended.result, ready.summary.warnings, workflow)
  } catch (error) {
    if (/** @type {any} */ (error).unreachable) again = await tellUnreachable(/** @type {Error} */ (error))
    else tell(error)
  } finally {
    busy.delete(node)
    show(node, "")
  }
  if (again) await deploy(node)
}

addButton(LABEL, 1, deploy)
// Nobody could see or stop it in a page that is gone.
window.addEventListener("pagehide", () => {
  for (const { id } of busy.values()) if (id) api.fetchApi(`/runflow/deploy/jobs/${id}`, { method: "DELETE", keepalive: true })
})
