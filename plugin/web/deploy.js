// The Deploy button: prepare on the server, show what would go out, send it, say how it ended.
import { app } from "../../scripts/app.js"
import { capture } from "./capture.js"
import { addButton, takeSecrets, widget } from "./deploy_node.js"
import { chooseModels, confirmDeploy } from "./deploy_summary.js"
import { ask, listen, pageId } from "./server.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */

const EVENT = "runflow.deploy"
const LABEL = "Deploy"
const LOOK_EVERY_MS = 2000
const STEP_FITS = 24
const OVER = ["ready", "choosing", "done", "failed", "cancelled"]

/** The jobs under way; an empty id while there is none yet. @type {WeakMap<GraphNode, string>} */
const busy = new WeakMap()

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
    const timer = setInterval(() => ask("GET", `/runflow/deploy/jobs/${id}`).then(hear, fail), LOOK_EVERY_MS)
    let over = false
    const stop = () => {
      over = true
      deafen()
      clearInterval(timer)
    }
    /** @param {any} job */
    const hear = (job) => {
      if (over) return // an answer that was on its way when an event overtook it
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
      stop()
      reject(error)
    }
    ask("GET", `/runflow/deploy/jobs/${id}`).then(hear, fail)
  })
}

/** @param {any} result */
function succeed(result) {
  const graph = app.rootGraph ?? app.graph
  // What Auto setup needs on another machine travels with the workflow file.
  graph.extra = { ...graph.extra, runflow: result.manifest }
  const version = result.version ? `, version ${result.version}` : ""
  const toast = app.extensionManager.toast
  toast.add({ severity: "success", summary: "Deployed ✓", detail: `${result.path}${version}`, life: 8000 })
  if (result.warnings.length)
    toast.add({ severity: "warn", summary: "Runflow: please look at this", detail: result.warnings.join("\n") })
}

/**
 * Whether a job got where it should; one that was stopped is told, one that failed is thrown.
 * @param {any} job
 * @param {string} stopped What it means that it was stopped.
 */
function end(job, stopped) {
  if (job.state === "failed") throw new Error(job.error)
  if (job.state !== "cancelled") return true
  app.extensionManager.toast.add({ severity: "info", summary: "Runflow: stopped", detail: stopped, life: 5000 })
  return false
}

/** @param {GraphNode} node */
async function deploy(node) {
  const running = busy.get(node)
  if (running !== undefined) {
    if (running) await ask("DELETE", `/runflow/deploy/jobs/${running}`)
    return
  }
  busy.set(node, "")
  try {
    show(node, "Preparing…")
    const { host, api_key } = takeSecrets(node)
    const endpoint_name = String(widget(node, "endpoint_name")?.value ?? "")
    const body = { endpoint_name, host, api_key, client_id: pageId(), ...(await capture()) }
    const started = await ask("POST", "/runflow/deploy/jobs", body)
    busy.set(node, started.id)
    const ready = await follow(started.id, node)
    if (!end(ready, "Nothing was sent.")) return
    show(node, "Waiting for you…")
    if (!(await confirmDeploy(ready.summary))) {
      await ask("DELETE", `/runflow/deploy/jobs/${started.id}`)
      return
    }
    show(node, "Deploying…")
    await ask("POST", `/runflow/deploy/jobs/${started.id}/confirmation`, { origin: ready.summary.origin })
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
    if (end(ended, "It may have been published already.")) succeed(ended.result)
  } catch (error) {
    alert(`Runflow: ${error instanceof Error ? error.message : error}`)
  } finally {
    busy.delete(node)
    show(node, "")
  }
}

addButton(LABEL, 1, deploy)
