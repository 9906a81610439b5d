// What becomes of a deployment after it: the machine that is being prepared and the test of the version, as they go on.
import { make } from "./dialog.js"
import { ask } from "./server.js"

/**
 * How far a pre-build and a golden run are, as the plugin's route tells it; each null where there is none.
 * @typedef {{prebuild: any, golden: any, deployed: {version: string, curl: string} | null, over: boolean, trouble: string}} Progress
 */

const FIRST_PAUSE_MS = 1000
const LONGEST_PAUSE_MS = 15000
const GROWS_BY = 1.5
const NOT_FOUND = 404

export const PROGRESS_STYLE = `
.runflow-deployed .progress { margin: 6px 0 0; padding: 6px 8px; border-radius: 6px; border: 1px solid var(--border-color, #4e4e4e); }
.runflow-deployed .progress.waits { border-color: var(--p-yellow-500, #e5b93c); }
.runflow-deployed .progress.failed { border-color: #d9534f; }
.runflow-deployed .progress.ready { border-color: #3f9c5a; }
.runflow-deployed .progress h3 { margin: 0; justify-content: start; }
.runflow-deployed .progress p { margin: 2px 0; white-space: pre-line; }
.runflow-deployed .progress ul { color: inherit; }
.runflow-deployed .progress pre { max-height: 120px; margin-top: 2px; }
.runflow-deployed .progress summary { cursor: pointer; }
.runflow-deployed .progress .dot { flex: none; width: 8px; height: 8px; border-radius: 50%; background: #2f8be6; }
@media (prefers-reduced-motion: no-preference) { .runflow-deployed .progress .dot { animation: runflow-pulse 1.2s ease-in-out infinite alternate; } }
@keyframes runflow-pulse { to { opacity: 0.25; } }
`

/**
 * Ask how far a deployment's pre-build and test are until nothing more comes, in growing pauses that begin anew with
 * each change. A page that nobody sees asks nothing.
 * @param {string} job
 * @param {() => boolean} isShown Whether anybody still shows it; once it says no, nothing is asked any more.
 * @param {(progress: Progress) => void} hear
 */
export function followProgress(job, isShown, hear) {
  let pause = FIRST_PAUSE_MS
  let last = ""
  const look = async () => {
    if (!isShown()) return
    /** @type {Progress | null} */
    let progress = null
    if (!document.hidden) {
      progress = await ask("GET", `/runflow/deploy/jobs/${job}/aftermath`).catch((error) => failed(error, last))
      if (!isShown()) return
    }
    const said = JSON.stringify(progress)
    pause = progress && said !== last ? FIRST_PAUSE_MS : Math.min(pause * GROWS_BY, LONGEST_PAUSE_MS)
    if (progress && said !== last) {
      last = said
      hear(progress)
    }
    if (!progress?.over) setTimeout(look, pause)
  }
  look()
}

/**
 * @param {any} error
 * @param {string} last What was heard before, which still holds.
 * @returns {Progress | null} Null: it may pass.
 */
function failed(error, last) {
  const before = last ? JSON.parse(last) : { prebuild: null, golden: null, deployed: null }
  if (error.status === 0 || error.status >= 500) return null
  const gone = "ComfyUI was started again since, so this is followed no longer. `runflow prebuild PATH` tells how far it is."
  return { ...before, over: true, trouble: error.status === NOT_FOUND ? gone : error.message }
}

/**
 * The parts of the panel that tell it. `act` sends what a button asks for, and shows the answer.
 * @param {Progress} progress
 * @param {(what: "prebuild" | "approval" | "cancellation", body?: object) => Promise<void>} act
 * @returns {HTMLElement[]}
 */
export function describeProgress(progress, act) {
  const parts = []
  if (progress.golden) parts.push(testing(progress.golden, act))
  if (progress.prebuild) parts.push(preparing(progress.prebuild, act))
  if (progress.trouble) parts.push(make("div", { className: "progress waits" }, make("p", null, progress.trouble)))
  return parts
}

/**
 * In one line how it ended, for those who do not look at the node; null where nothing has ended.
 * @param {Progress} progress
 * @returns {{severity: "success" | "warn", summary: string, detail: string} | null}
 */
export function endOfProgress({ over, golden, prebuild }) {
  const told = golden ?? prebuild
  if (!over || !told || told.state === "superseded" || told.state === "cancelled") return null
  const isGood = told.state === "passed" || told.state === "ready"
  const detail = [told.text, ...(golden?.reasons ?? [])].filter(Boolean).join("\n")
  return { severity: isGood ? "success" : "warn", summary: told.title, detail }
}

/** @param {string} state */
function look(state) {
  if (state === "failed") return "failed"
  if (state === "ready" || state === "passed") return "ready"
  return state === "waiting_for_approval" || state === "cancelled" ? "waits" : ""
}

/** @param {any} told @param {boolean} isOpen @returns {HTMLElement} */
function box(told, isOpen) {
  const heading = make("h3", null, told.title)
  if (isOpen) heading.prepend(make("span", { className: "dot", ariaHidden: "true" }))
  const element = make("div", { className: `progress ${look(told.state)}`.trim() }, heading)
  if (told.text) element.append(make("p", null, told.text))
  return element
}

/** @param {any} prebuild @param {Parameters<typeof describeProgress>[1]} act */
function preparing(prebuild, act) {
  const element = box(prebuild, prebuild.state === "building" || prebuild.state === "queued")
  for (const source of prebuild.sources) {
    const state = source.state === "revoked" ? " (revoked by the operator)" : ""
    element.append(make("p", null, `${source.name}${state}: ${source.origin} at ${source.commit.slice(0, 10)}`))
    if (!prebuild.may_approve) element.append(make("code", null, source.command))
  }
  if (prebuild.state === "waiting_for_approval") {
    const waiting = prebuild.sources.filter((/** @type {any} */ one) => one.state === "waiting")
    const sources = waiting.map((/** @type {any} */ { origin, commit }) => ({ origin, commit }))
    if (prebuild.may_approve) element.append(button("Approve this code", () => act("approval", { sources })))
    else element.append(make("p", null, "Your key may not approve it: its operator runs these commands. It goes on by itself then."))
  }
  if (prebuild.log) {
    const log = make("pre", { tabIndex: 0, ariaLabel: "End of the log" }, prebuild.log)
    log.setAttribute("role", "group")
    element.append(make("details", null, make("summary", null, "End of the log"), log))
  }
  if (prebuild.next_step) element.append(make("p", null, prebuild.next_step))
  if (prebuild.state === "failed") element.append(button("Prepare again", () => act("prebuild")))
  return element
}

/** @param {any} golden @param {Parameters<typeof describeProgress>[1]} act */
function testing(golden, act) {
  const element = box(golden, golden.state === "running")
  if (golden.reasons.length) element.append(make("ul", null, ...golden.reasons.map((/** @type {string} */ text) => make("li", null, text))))
  const rows = golden.examples.map((/** @type {any} */ { name, text }) => make("li", null, `${name}: ${text}`))
  if (rows.length && golden.state !== "passed") element.append(make("p", null, "Examples:"), make("ul", null, ...rows))
  if (golden.next_step) element.append(make("p", null, golden.next_step))
  if (golden.state === "running") element.append(button("Stop the test", () => act("cancellation")))
  return element
}

/** @param {string} label @param {() => Promise<void>} press */
function button(label, press) {
  const element = make("button", { type: "button" }, label)
  element.addEventListener("click", async () => {
    element.disabled = true
    await press().catch((error) => alert(`Runflow: ${error.message}`))
    element.disabled = false
  })
  return element
}
