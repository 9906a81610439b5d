// The Local Playground button: capture the workflow, open its page, and tell the page when the editor shows another one.
import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"
import { capture } from "./capture.js"
import { addButton, widget } from "./deploy_node.js"
import { fingerprint } from "./fingerprint.js"
import { ask, listen, pageId } from "./server.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */

const DEPLOY = "RunflowDeploy"
const QUIET_MS = 1200
// What a person does before something has changed. ComfyUI's own event comes with the next click or key, and not while
// a field has the focus.
const ACTIONS = ["pointerup", "keyup", "input", "change"]

/** @type {Map<string, string>} The slug of each name that was captured; only those are watched. */
const captured = new Map()
/** @type {Set<string>} */
const neverCaptured = new Set()

/** @param {GraphNode} node */
const nameOf = (node) => String(widget(node, "endpoint_name")?.value ?? "")

/** @param {string} name */
async function keep(name) {
  const { prompt, graph } = await capture()
  const body = { endpoint_name: name, prompt, graph, fingerprint: fingerprint(prompt), client_id: pageId() }
  const { slug } = await ask("POST", "/runflow/playground/captures", body)
  captured.set(name, slug)
  neverCaptured.delete(name)
  return slug
}

/** @param {GraphNode} node */
async function open(node) {
  // Opened within the click: later, browsers take it for a pop-up.
  const tab = window.open("about:blank")
  try {
    const slug = await keep(nameOf(node))
    const page = new URL(`../../runflow/playground/${slug}`, import.meta.url).href
    if (!tab) throw new Error(`The browser blocked the new tab. Allow pop-ups here, or open ${page}`)
    tab.opener = null
    tab.location.replace(page)
  } catch (error) {
    tab?.close()
    alert(`Runflow: ${error instanceof Error ? error.message : error}`)
  }
}

/** Deploy nodes of the workflow that is open, outside of subgraphs, by name. */
function names() {
  const nodes = (app.rootGraph ?? app.graph)?.nodes ?? []
  return [...new Set(nodes.filter((node) => node.type === DEPLOY).map(nameOf))].filter(Boolean)
}

/** The workflow that was told last: making a prompt of it is costly, and some nodes upload something each time. */
let lastTold = ""

async function tellWhatIsShown() {
  const watched = names().filter((name) => !neverCaptured.has(name))
  if (!watched.length) return
  const { extra: _view, ...graph } = (app.rootGraph ?? app.graph).serialize()
  const now = JSON.stringify([watched, graph])
  if (now === lastTold) return
  const shown = fingerprint((await capture()).prompt)
  for (const name of watched) {
    const body = { endpoint_name: name, fingerprint: shown, client_id: pageId() }
    const answer = await ask("POST", "/runflow/playground/shown", body)
    if (!answer.captured) neverCaptured.add(name)
  }
  lastTold = now
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let soon
function later() {
  clearTimeout(soon)
  // Whatever fails here fails again, and is told, when the button is pressed.
  soon = setTimeout(() => tellWhatIsShown().catch(() => {}), QUIET_MS)
}

addButton("Local Playground", 2, open)

app.registerExtension({
  name: "Runflow.Playground",
  setup() {
    api.addEventListener("graphChanged", later)
    api.addEventListener("reconnected", () => {
      lastTold = ""
      later()
    })
    for (const action of ACTIONS) window.addEventListener(action, later, true)
    later()
  },
})

listen("runflow.playground.recapture", ({ slug }) => {
  const name = names().find((each) => captured.get(each) === slug)
  if (name !== undefined) keep(name).catch(() => {})
})
