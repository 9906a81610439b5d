// What became of a deployment, on the Deploy node until the next one: address, a command that calls it, warnings.
import { app } from "../../scripts/app.js"
import { PROGRESS_STYLE, describeProgress, endOfProgress, followProgress } from "./deploy_progress.js"
import { make } from "./dialog.js"
import { ask } from "./server.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */
/** @typedef {import("../../scripts/app.js").Widget} Widget */
/** @typedef {import("./deploy_progress.js").Progress} Progress */

/**
 * `testing`: the version that is tested before it serves. `job`: by which its pre-build and its test are followed.
 * @typedef {{path: string, version: string | null, unchanged: boolean, url: string, docs_url: string, curl: string,
 *   warnings: string[], can_run?: boolean, testing?: string | null, job?: string | null, progress?: Progress | null}} Deployed
 */

const CLASS = "RunflowDeploy"
const NAME = "deployed"
const HEIGHT = 260
// In this tab's own storage, never in the workflow: a file of somebody else could show an address of theirs.
const STORE = "runflow.deployed"
const KEPT = 20
const COPIED_MS = 2000
const TOAST_MS = 20000

const STYLE = `
.runflow-deployed { box-sizing: border-box; width: 100%; height: 100%; padding: 4px 15px; pointer-events: none; }
.lg-node .runflow-deployed { flex: none; padding: 0; height: ${HEIGHT}px; }
.runflow-deployed section { box-sizing: border-box; height: 100%; padding: 8px 10px; overflow: auto; pointer-events: auto; cursor: default;
  border: 1px solid var(--border-color, #4e4e4e); border-radius: 8px; background: var(--comfy-menu-bg, #202020);
  color: var(--input-text, #ddd); font: 12px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; user-select: text; }
.runflow-deployed section:focus-visible, .runflow-deployed pre:focus-visible { outline: 2px solid #6bb3ff; outline-offset: -2px; }
.runflow-deployed h2 { margin: 0; font-size: 13px; font-weight: 600; }
.runflow-deployed h3 { display: flex; align-items: center; justify-content: space-between; gap: 8px; margin: 8px 0 2px; font-size: 12px; font-weight: 600; }
.runflow-deployed header { display: flex; align-items: start; justify-content: space-between; gap: 8px; }
.runflow-deployed code, .runflow-deployed pre { margin: 0; font: 11px/1.5 ui-monospace, monospace; }
.runflow-deployed code { display: block; }
.runflow-deployed pre { padding: 6px 8px; overflow: auto; border-radius: 6px; background: var(--comfy-input-bg, #111); overflow-wrap: normal; }
.runflow-deployed ul { margin: 0; padding-left: 16px; list-style: disc; color: color-mix(in srgb, #d9a514 55%, var(--input-text, #ddd)); }
.runflow-deployed p { margin: 8px 0 0; }
.runflow-deployed a { color: color-mix(in srgb, #2f8be6 60%, var(--input-text, #ddd)); text-decoration: underline; }
.runflow-deployed button { padding: 2px 8px; border-radius: 5px; border: 1px solid var(--border-color, #4e4e4e); cursor: pointer;
  background: var(--comfy-input-bg, #333); color: inherit; font: inherit; font-weight: 400; }
.runflow-deployed :is(a, button):focus-visible { outline: 2px solid #6bb3ff; outline-offset: 1px; }
${PROGRESS_STYLE}`

/**
 * The panel of a node, its height before, and by how much it grew for the panel.
 * @typedef {{box: HTMLElement, widget: Widget, before: number, grown: number, place: string, deployed: Deployed}} Panel
 * @type {WeakMap<GraphNode, Panel>}
 */
const panels = new WeakMap()

/**
 * Show on a node how its deployment ended, and remember it for as long as the tab lives.
 * @param {GraphNode} node
 * @param {string} place Of the node, when it was deployed: another workflow may be shown by now.
 * @param {Deployed} deployed
 */
export function showDeployed(node, place, deployed) {
  remember(place, deployed)
  if (placeOf(node) === place && isInGraph(node)) put(node, place, deployed)
}

/**
 * Which node of which workflow this is, for `showDeployed`.
 * @param {GraphNode} node
 */
export function placeOf(node) {
  const name = node.widgets?.find((each) => each.name === "endpoint_name")?.value
  return `${(app.rootGraph ?? app.graph).id ?? ""} ${node.id} ${name}`
}

/**
 * The height that the panel added to a node, which no workflow file keeps.
 * @param {GraphNode} node
 */
export function panelHeight(node) {
  const panel = panels.get(node)
  if (!panel) return 0
  // The newer nodes, which are HTML, measure themselves later, and otherwise than the canvas does.
  return panel.box.closest(".lg-node") ? node.size[1] - panel.before : panel.grown
}

/** @param {GraphNode} node @param {string} place @param {Deployed} deployed */
function put(node, place, deployed) {
  if (!document.getElementById("runflow-deployed-style")) document.head.append(make("style", { id: "runflow-deployed-style", textContent: STYLE }))
  let panel = panels.get(node)
  if (!panel) {
    const box = make("div", { className: "runflow-deployed" })
    // The editor has shortcuts for many keys, drags nodes by the pointer, zooms by the wheel, and copies nodes.
    for (const type of ["keydown", "keyup", "pointerdown", "pointermove", "dblclick", "contextmenu", "copy", "wheel"])
      box.addEventListener(type, (event) => event.stopPropagation())
    const options = { serialize: false, hideOnZoom: true, margin: 0, getValue: () => "", setValue: () => {}, getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT }
    const before = node.size[1]
    const widget = node.addDOMWidget(NAME, "runflow_deployed", box, options)
    widget.serialize = false
    node.setSize([node.size[0], Math.max(before, node.computeSize()[1])])
    panel = { box, widget, before, grown: node.size[1] - before, place, deployed }
    panels.set(node, panel)
  }
  panel.place = place
  panel.deployed = deployed
  fill(panel, node)
  node.setDirtyCanvas(true, true)
  if (deployed.job && !deployed.progress?.over) keepFollowing(node, deployed)
}

/** @param {GraphNode} node @param {Deployed} deployed */
function keepFollowing(node, deployed) {
  // The editor makes all nodes anew when it shows another tab; the new one begins to follow, and this one ends.
  const isShown = () => panels.get(node)?.deployed === deployed && isInGraph(node)
  followProgress(String(deployed.job), isShown, (progress) => {
    const end = endOfProgress(progress)
    if (end) app.extensionManager.toast.add({ ...end, life: TOAST_MS })
    hear(node, deployed, progress)
  })
}

/**
 * Show how far it is; what stands around it stays as the person left it.
 * @param {GraphNode} node @param {Deployed} deployed @param {Progress} progress
 */
function hear(node, deployed, progress) {
  const panel = panels.get(node)
  if (!panel || panel.deployed !== deployed) return
  const wasOver = deployed.progress?.over ?? false
  // The same object: by it the panel is known as this deployment's.
  Object.assign(deployed, progress.deployed ?? {}, { progress })
  remember(panel.place, deployed)
  const live = panel.box.querySelector(".live")
  const isLogOpen = live?.querySelector("details")?.open ?? false
  const hadFocus = panel.box.contains(document.activeElement)
  if (progress.deployed || !live) fill(panel, node)
  else {
    /** @type {HTMLElement} */ (panel.box.querySelector("h2")).textContent = heading(deployed)
    live.replaceChildren(...described(node, deployed))
  }
  const log = panel.box.querySelector("details")
  if (log) log.open = isLogOpen
  // The button that was pressed may be gone.
  if (hadFocus && !panel.box.contains(document.activeElement)) panel.box.querySelector("section")?.focus({ preventScroll: true })
  if (wasOver && !progress.over) keepFollowing(node, deployed)
}

/** @param {GraphNode} node @param {Deployed} deployed @returns {HTMLElement[]} */
function described(node, deployed) {
  const route = `/runflow/deploy/jobs/${deployed.job}/aftermath`
  const act = async (/** @type {string} */ what, /** @type {object} */ body = {}) => hear(node, deployed, await ask("POST", `${route}/${what}`, body))
  return deployed.progress ? describeProgress(deployed.progress, act) : []
}

/** @param {Panel} panel @param {GraphNode} node */
function fill(panel, node) {
  panel.box.replaceChildren(content(panel.deployed, described(node, panel.deployed), () => close(node)))
}

/** @param {GraphNode} node */
function close(node) {
  const panel = panels.get(node)
  if (!panel) return
  const height = panelHeight(node)
  panels.delete(node)
  if (node.removeWidget) node.removeWidget(panel.widget)
  else {
    panel.widget.onRemove?.()
    node.widgets?.splice(node.widgets.indexOf(panel.widget), 1)
  }
  node.setSize([node.size[0], node.size[1] - height])
  node.setDirtyCanvas(true, true)
  remember(panel.place, null)
}

/** @param {Deployed} deployed */
function named({ path, version }) {
  return version ? `${path}, version ${version}` : path
}

/** @param {Deployed} deployed */
function heading(deployed) {
  const { testing, path, can_run, progress } = deployed
  const test = progress?.golden?.state
  if (testing && test !== "passed") return test && test !== "running" ? `Not deployed: ${path}, version ${testing}` : `Being tested: ${path}, version ${testing}`
  // A machine that was prepared can run it. What was kept before this was told has no can_run.
  const isAble = can_run !== false || progress?.prebuild?.state === "ready"
  return isAble ? `Deployed ✓ ${named(deployed)}` : `Deployed, but no worker can run it yet: ${named(deployed)}`
}

/** @param {Deployed} deployed @param {HTMLElement[]} progress @param {() => void} dismiss */
function content(deployed, progress, dismiss) {
  const { unchanged, url, docs_url, curl, warnings, job } = deployed
  const which = named(deployed)
  const title = make("h2", null, heading(deployed))
  const hide = make("button", { type: "button", title: "Hide this", ariaLabel: "Hide this" }, "✕")
  hide.addEventListener("click", dismiss)
  const command = make("pre", { tabIndex: 0, ariaLabel: "Command that calls it" }, curl)
  command.setAttribute("role", "group")
  const link = make("a", { href: docs_url, target: "_blank", rel: "noopener noreferrer" }, "The endpoint's page")
  const section = make("section", { tabIndex: 0, ariaLabel: `Deployed: ${which}` }, make("header", null, title, hide))
  if (unchanged) section.append(make("p", null, "Nothing has changed since that version, so no new one was made."))
  if (job) {
    const live = make("div", { className: "live" }, ...progress)
    live.setAttribute("role", "status")
    section.append(live)
  }
  section.append(
    make("h3", null, "Address", copyButton("Copy address", url)),
    make("code", null, `POST ${url}`),
    make("h3", null, "Call it", copyButton("Copy command", curl)),
    command,
    make("p", null, link, ": inputs, outputs, and a form to try it."),
  )
  if (warnings.length) section.append(make("h3", null, `Warnings (${warnings.length})`), make("ul", null, ...warnings.map((text) => make("li", null, text))))
  return section
}

/** @param {string} label @param {string} text */
function copyButton(label, text) {
  const button = make("button", { type: "button" }, label)
  button.setAttribute("aria-live", "polite")
  button.addEventListener("click", async () => {
    // Browsers give pages a clipboard on https and on their own machine only.
    const copied = await copy(text, button)
    button.textContent = copied ? "Copied" : "Select it and copy"
    setTimeout(() => (button.textContent = label), COPIED_MS)
  })
  return button
}

/** @param {string} text @param {HTMLElement} near @returns {Promise<boolean>} */
async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    const area = make("textarea", { value: text, readOnly: true })
    area.style.cssText = "position: fixed; opacity: 0"
    near.after(area)
    area.select()
    const copied = document.execCommand("copy")
    area.remove()
    near.focus()
    return copied
  }
}

/** @returns {Record<string, Deployed>} */
function remembered() {
  try {
    return JSON.parse(sessionStorage.getItem(STORE) ?? "{}")
  } catch {
    return {}
  }
}

/** @param {string} place @param {Deployed | null} deployed */
function remember(place, deployed) {
  const { [place]: _, ...others } = remembered()
  const all = Object.entries(deployed ? { ...others, [place]: deployed } : others).slice(-KEPT)
  try {
    sessionStorage.setItem(STORE, JSON.stringify(Object.fromEntries(all)))
  } catch {
    // A full storage, or none: the panel is gone with the page.
  }
}

/** @param {import("../../scripts/app.js").Graph} graph @returns {GraphNode[]} */
function deployNodes(graph) {
  return graph.nodes.flatMap((node) => (node.type === CLASS ? [node] : node.subgraph ? deployNodes(node.subgraph) : []))
}

/** @param {GraphNode} node */
function isInGraph(node) {
  return deployNodes(app.rootGraph ?? app.graph).includes(node)
}

app.registerExtension({
  name: "Runflow.Deployed",
  // The editor makes all nodes anew when it shows another tab, goes back a step, or is loaded again.
  afterConfigureGraph() {
    const known = remembered()
    for (const node of deployNodes(app.rootGraph ?? app.graph)) {
      const deployed = known[placeOf(node)]
      if (deployed && !panels.has(node)) put(node, placeOf(node), deployed)
    }
  },
})
