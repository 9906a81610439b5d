// Auto setup at work: a bar of counts for custom nodes, a bar of bytes for models, each line with how it ended.
import { make, size } from "./dialog.js"

const STYLE = `
.runflow-job .current { display: flex; justify-content: space-between; gap: 12px; font-size: 13px; min-height: 20px; }
.runflow-job .current span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.runflow-job .current .quiet { flex: none; }
.runflow-job [hidden] { display: none; }
.runflow-job ul { list-style: none; padding: 0; display: grid; gap: 4px; }
.runflow-job li { display: grid; grid-template-columns: 1.2em minmax(0, 1fr) auto; column-gap: 10px; }
.runflow-job .said { grid-column: 2 / -1; margin: 2px 0 4px; font: 12px/1.4 ui-monospace, monospace; white-space: pre-wrap; }
.runflow-job .asks { margin: 8px 0; padding: 10px 12px; border: 1px solid var(--p-yellow-500, #e5b93c); border-radius: 6px; }
`
const MARKS = /** @type {Record<string, string>} */ ({
  waiting: "·", working: "→", asking: "?", done: "✓", failed: "✗", left_out: "–", cancelled: "–",
})
const WORDS = /** @type {Record<string, string>} */ ({
  waiting: "waiting", working: "at work", asking: "waits for you", done: "installed", failed: "failed",
  left_out: "left out", cancelled: "cancelled",
})
const OVER = ["done", "failed", "left_out", "cancelled"]

/**
 * The view of a job; `update` shows a newer state of it.
 * @param {(line: string, approved: boolean) => void} answer Called with the person's answer about packages.
 * @returns {{body: Node[], update: (job: any) => void}}
 */
export function jobView(answer) {
  if (!document.getElementById("runflow-job-style"))
    document.head.append(make("style", { id: "runflow-job-style", textContent: STYLE }))
  const summary = make("p", { role: "status" })
  const packs = lane("Custom nodes")
  const models = lane("Models")
  const asks = make("div", null)
  const root = make("div", { className: "runflow-job" }, summary, asks, packs.root, models.root)
  let asked = ""
  /** @param {any} job */
  const update = (job) => {
    const of = (/** @type {string} */ kind) => job.items.filter((/** @type {any} */ item) => item.kind === kind)
    packs.update(of("custom_node"), countProgress)
    models.update(of("model"), byteProgress)
    summary.textContent = job.state === "running" ? "Installing what you approved…" : outcome(job)
    const waiting = job.items.find((/** @type {any} */ item) => item.asks)
    if ((waiting?.id ?? "") === asked) return
    asked = waiting?.id ?? ""
    const held = asks.contains(document.activeElement)
    asks.replaceChildren(...(waiting ? [question(waiting, answer)] : []))
    if (waiting) asks.scrollIntoView({ block: "nearest" }) // it waits for the person, who may be far down the list
    if (held) root.closest("dialog")?.focus()
  }
  return { body: [root], update }
}

/** @param {string} title */
function lane(title) {
  const heading = make("h3", null, title)
  const bar = make("progress", { max: 1, value: 0, ariaLabel: title })
  const [step, numbers] = [make("span", null), make("span", { className: "quiet" })]
  const list = make("ul", null)
  const current = make("div", { className: "current" }, step, numbers)
  const root = make("section", { hidden: true }, heading, bar, current, list)
  /** @param {any[]} items @param {(items: any[]) => {part: number | null, step: string, numbers: string}} progress */
  const update = (items, progress) => {
    root.hidden = !items.length
    if (!items.length) return
    const shown = progress(items)
    if (shown.part === null) bar.removeAttribute("value")
    else bar.value = shown.part
    step.textContent = shown.step
    numbers.textContent = shown.numbers
    const over = items.every((item) => OVER.includes(item.state))
    bar.hidden = current.hidden = over
    list.replaceChildren(...items.map(itemRow))
  }
  return { root, update }
}

/** @param {any[]} items */
function countProgress(items) {
  const over = items.filter((item) => OVER.includes(item.state)).length
  const now = items.find((item) => item.state === "working" || item.state === "asking")
  const inner = now?.total ? now.done / now.total / 2 : 0 // cloning is about half of it
  const step = now ? `${now.name}: ${now.state === "asking" ? "waits for your answer" : now.step || "beginning"}` : ""
  return { part: (over + inner) / items.length, step, numbers: `${over} of ${items.length}` }
}

/** @param {any[]} items */
function byteProgress(items) {
  const over = items.filter((item) => OVER.includes(item.state)).length
  const now = items.find((item) => item.state === "working")
  if (!now) return { part: over / items.length, step: "", numbers: `${over} of ${items.length}` }
  const speed = now.step === "Downloading" && now.bytes_per_second ? now.bytes_per_second : 0
  const parts = [now.total ? `${size(now.done)} of ${size(now.total)}` : size(now.done)]
  if (speed) parts.push(`${size(speed)}/s`)
  if (speed && now.total) parts.push(`${duration((now.total - now.done) / speed)} left`)
  if (items.length > 1) parts.push(`file ${over + 1} of ${items.length}`)
  return { part: now.total ? now.done / now.total : null, step: `${now.name}: ${now.step}`, numbers: parts.join(" · ") }
}

/** @param {any} item */
function itemRow(item) {
  const row = make("li", { className: item.state === "failed" ? "warn" : "" })
  row.append(make("span", { ariaHidden: "true" }, MARKS[item.state]), make("span", null, item.name), make("span", null, WORDS[item.state]))
  if (item.error) row.append(make("div", { className: "said" }, item.error))
  return row
}

/** @param {any} item @param {(line: string, approved: boolean) => void} answer */
function question(item, answer) {
  const some = item.asks.packages.length > 0
  const label = some ? "Install these packages" : "Install without them"
  const yes = make("button", { type: "button", className: "main" }, label)
  const no = make("button", { type: "button" }, "Leave this pack out")
  yes.addEventListener("click", () => answer(item.id, true))
  no.addEventListener("click", () => answer(item.id, false))
  const box = make("div", { className: "asks" })
  const text = some ? " wants these packages in ComfyUI's Python:" : " asks for what is never installed from here:"
  box.append(make("p", null, make("strong", null, item.name), text))
  if (some) box.append(make("p", null, make("code", null, `pip install ${item.asks.packages.join("  ")}`)))
  if (item.asks.left_out.length)
    box.append(make("p", { className: "warn" }, `Not installed: ${item.asks.left_out.join("  ")}`))
  box.append(make("p", { className: "quiet" }, "Packages are programs, too. torch stays at its version."), yes, " ", no)
  return box
}

/** @param {any} job */
function outcome(job) {
  const count = (/** @type {string} */ state) => job.items.filter((/** @type {any} */ item) => item.state === state).length
  const parts = [`${count("done")} of ${job.items.length} installed`]
  if (count("failed")) parts.push(`${count("failed")} failed`)
  if (count("left_out")) parts.push(`${count("left_out")} left out`)
  if (count("cancelled")) parts.push(`${count("cancelled")} cancelled`)
  const packs = job.items.some((/** @type {any} */ item) => item.kind === "custom_node" && item.state === "done")
  return `${parts.join(", ")}.${packs ? " Restart ComfyUI to load the new nodes." : ""}`
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`
}
