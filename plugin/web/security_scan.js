// The port exposure scan: what ComfyUI's machine knows, the question before others are asked, and their answers.
import { choose, make } from "./dialog.js"
import { ask } from "./server.js"

const SCANS = "/runflow/security/scans"

/** @typedef {"good" | "warning" | "danger" | "unknown"} Level */

const MARKS = { good: "✓", warning: "!", danger: "✕", unknown: "?" }
const STYLE = `
.runflow-scan { display: grid; grid-template-columns: auto 1fr auto; gap: 6px 12px; align-items: baseline; margin: 6px 0 4px; }
.runflow-scan .mark { font-weight: 700; text-align: center; width: 20px; height: 20px; line-height: 20px;
  border-radius: 50%; color: #fff; font-size: 12px; }
.runflow-scan .word { font-weight: 600; text-align: right; white-space: nowrap; }
.runflow-scan .what { overflow-wrap: anywhere; }
.runflow-scan .good.mark { background: #1a7f37; } .runflow-scan .good.word { color: color-mix(in srgb, #2ea043 60%, var(--input-text, #ddd)); }
.runflow-scan .warning.mark { background: #9a6700; } .runflow-scan .warning.word { color: color-mix(in srgb, #d9a514 55%, var(--input-text, #ddd)); }
.runflow-scan .danger.mark { background: #cf222e; } .runflow-scan .danger.word { color: color-mix(in srgb, #e5534b 70%, var(--input-text, #ddd)); }
.runflow-scan .unknown.mark { background: #6e7781; } .runflow-scan .unknown.word { color: var(--descrip-text, #999); }
`

/** @param {[Level, string, string][]} rows Level, what, and the level in a word. */
function table(rows) {
  if (!document.getElementById("runflow-scan-style"))
    document.head.append(make("style", { id: "runflow-scan-style", textContent: STYLE }))
  const cells = rows.flatMap(([level, what, word]) => [
    make("span", { className: `mark ${level}`, ariaHidden: "true" }, MARKS[level]),
    make("span", { className: "what" }, what),
    make("span", { className: `word ${level}` }, word),
  ])
  return make("div", { className: "runflow-scan" }, ...cells)
}

const REACH = { good: "safe", warning: "network", danger: "exposed", unknown: "unknown" }

/** @param {any} found */
function local(found) {
  /** @type {[Level, string, string][]} */
  const rows = found.bindings.map((/** @type {any} */ each) => [
    each.level,
    `Listens on ${each.address}, port ${found.port}: ${each.meaning}`,
    REACH[/** @type {Level} */ (each.level)],
  ])
  const open = found.bindings.some((/** @type {any} */ each) => each.level !== "good")
  rows.push([found.password ? "good" : open ? "danger" : "warning", "Password authentication", found.password ? "on" : "off"])
  if (found.tls) rows.push(["good", "TLS: ComfyUI encrypts its traffic", "on"])
  else if (open) rows.push(["warning", "TLS: ComfyUI sends everything unencrypted, the password too", "off"])
  const parts = [make("h3", null, "On this machine"), table(rows)]
  if (found.urls.length) parts.push(make("p", { className: "quiet" }, `Others reach it at ${found.urls.join(", ")}`))
  return parts
}

/** @param {any} found */
function outside(found) {
  const seen = found.outside
  const title = make("h3", null, "From the internet")
  const notes = seen.address_failures.map((/** @type {string} */ each) => make("p", { className: "quiet" }, `No answer of use from ${each}`))
  if (!seen.address) return [title, ...notes, make("p", { className: "warn" }, `⚠ Not scanned. ${seen.ports_failure}`)]
  const from = make("p", null, `Public address ${seen.address}, told by ${seen.address_from}`)
  if (seen.ports_failure)
    return [title, from, ...notes, make("p", { className: "warn" }, `⚠ The ports were not tried. ${seen.ports_failure}`)]
  /** @type {[Level, string, string][]} */
  const rows = seen.ports.map((/** @type {any} */ each) => [
    each.level,
    `Port ${each.port}${each.comfyui ? " (ComfyUI)" : ""}`,
    each.open === null ? "unknown" : each.open ? "OPEN" : "closed",
  ])
  return [title, from, ...notes, table(rows), make("p", { className: "quiet" }, `Tried by ${found.services.ports}`)]
}

/** @param {any} found */
function nextSteps(found) {
  const everywhere = found.bindings.some((/** @type {any} */ each) => each.level === "danger")
  const open = found.outside?.ports.some((/** @type {any} */ each) => each.open)
  if (!everywhere && !open) return []
  const steps = [
    "Restrict access with a firewall or security group, or put ComfyUI behind an authenticated reverse proxy.",
    "Bind to localhost only: start ComfyUI without --listen, or with --listen 127.0.0.1.",
  ]
  if (!found.password) steps.unshift("Enable password authentication, in this panel.")
  return [make("h3", null, "Close the exposure by any of"), make("ul", null, ...steps.map((step) => make("li", null, step)))]
}

/** @param {any} found */
function question(found) {
  const note = make(
    "div",
    { className: "notice" },
    make("p", null, make("strong", null, "Privacy: "), `the scan sends your public address to ${found.services.ports}, so that it can try your ports from the outside.`),
    make("p", null, `Your public address is asked from ${found.services.address[0]}; if that does not answer, from ${found.services.address.slice(1).join(", ") || "nobody else"}.`),
    make("p", null, "No workflow data is sent. Nothing is sent before you agree."),
  )
  return [make("h3", null, "From the internet"), make("p", null, "Not looked at yet."), note]
}

/** @param {string} message */
const failed = (message) => choose("Security scan", [make("p", { className: "warn" }, `⚠ ${message}`)], [{ label: "Close", value: "close" }])

/** Scan: first what this machine knows; the rest when the person agrees. */
export async function scan() {
  try {
    const found = await ask("POST", SCANS, { ask_outside: false })
    const agreed = await choose("Security scan", [...local(found), ...question(found), ...nextSteps(found)], [
      { label: "Agree and scan from outside", value: "agree", main: true },
      { label: "Close", value: "close" },
    ])
    if (agreed !== "agree") return
    const whole = await waiting(ask("POST", SCANS, { ask_outside: true }))
    if (whole)
      await choose("Security scan", [...outside(whole), ...local(whole), ...nextSteps(whole)], [{ label: "Close", value: "close", main: true }])
  } catch (error) {
    await failed(/** @type {Error} */ (error).message)
  }
}

/**
 * Show that something is under way until it ends. Closing the dialog does without the answer.
 * @template T
 * @param {Promise<T>} answer
 * @returns {Promise<T | null>}
 */
async function waiting(answer) {
  const text = make("p", { role: "status" }, "Asking from outside; this takes up to a minute …")
  let closed = false
  const gone = choose("Security scan", [text], [{ label: "Close", value: "close" }], (dialog) => {
    const end = () => {
      if (dialog.open) dialog.close("done")
    }
    answer.then(end, end)
  }).then((value) => (closed = value !== "done"))
  const [outcome] = await Promise.allSettled([answer, gone])
  await gone
  if (closed) return null
  if (outcome.status === "rejected") throw outcome.reason
  return outcome.value
}
