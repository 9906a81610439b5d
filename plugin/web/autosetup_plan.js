// The plan of Auto setup: each line with its source, version, size and what it would run, to be ticked or not.
import { make, size } from "./dialog.js"

const STYLE = `
.runflow-plan { list-style: none !important; padding: 0 !important; display: grid; gap: 8px; }
.runflow-plan > li { padding: 8px 12px; border: 1px solid var(--border-color, #4e4e4e); border-radius: 6px; }
.runflow-plan label { font-weight: 600; }
.runflow-plan .facts { margin: 2px 0 0 24px; font-size: 13px; }
.runflow-plan .facts p { margin: 1px 0; }
.runflow-plan .refused { border-style: dashed; }
.runflow-plan .facts strong { color: var(--input-text, #ddd); }
`

/**
 * @typedef {{line: any, box: HTMLInputElement}} Choice
 */

/**
 * Show the lines of a plan.
 * @param {any[]} lines
 * @returns {{body: Node[], boxes: Choice[], count: (button: HTMLButtonElement) => void}}
 */
export function planView(lines) {
  if (!document.getElementById("runflow-plan-style"))
    document.head.append(make("style", { id: "runflow-plan-style", textContent: STYLE }))
  /** @type {Choice[]} */
  const boxes = []
  const good = lines.filter((line) => !line.refused)
  const packs = good.filter((line) => line.kind === "custom_node")
  const models = good.filter((line) => line.kind === "model")
  const refused = lines.filter((line) => line.refused)
  /** @type {Node[]} */
  const body = []
  if (!lines.length) body.push(make("p", null, "Nothing is missing: this ComfyUI has all that the workflow names."))
  if (packs.length) {
    const text =
      "Custom nodes are programs. From the next start of ComfyUI on they run with your rights on this machine; the " +
      "packages that they want can run code while they are installed. The workflow file names these; nobody has " +
      "checked them. Approve only what you trust."
    const quiet = "No script of a pack is run to install it. Sizes are not known beforehand; more than 2 GiB are refused."
    body.push(heading("Custom nodes", packs.length), make("p", { className: "notice" }, text), fact(quiet))
    body.push(make("ul", { className: "runflow-plan" }, ...packs.map((line) => row(line, packFacts(line), boxes))))
  }
  if (models.length) {
    body.push(heading("Models", models.length))
    body.push(make("ul", { className: "runflow-plan" }, ...models.map((line) => row(line, modelFacts(line), boxes))))
  }
  if (refused.length) {
    body.push(heading("Missing, but not installed", refused.length))
    body.push(make("ul", { className: "runflow-plan" }, ...refused.map(refusedRow)))
  }
  const room = make("p", { className: "warn", role: "status" })
  body.push(room)
  return { body, boxes, count: (button) => counted(boxes, button, room) }
}

/**
 * What of a plan is ticked, as the server wants it. A model that can run code is ticked for exactly that.
 * @param {Choice[]} boxes
 */
export function approvedLines(boxes) {
  const ticked = boxes.filter(({ box }) => box.checked).map(({ line }) => line)
  return { lines: ticked.map((line) => line.id), pickles: ticked.filter((line) => line.pickle).map((line) => line.id) }
}

/** @param {Choice[]} boxes @param {HTMLButtonElement} button @param {HTMLElement} room Where a lack of it is told. */
function counted(boxes, button, room) {
  const update = () => {
    const ticked = boxes.filter(({ box }) => box.checked).map(({ line }) => line)
    const bytes = ticked.reduce((sum, line) => sum + (line.missing_bytes ?? 0), 0)
    room.textContent = lack(ticked)
    button.disabled = !ticked.length || !!room.textContent
    button.textContent = `Install ${ticked.length} of ${boxes.length}${bytes ? `, ${size(bytes)}` : ""}`
    if (room.textContent) room.scrollIntoView({ block: "nearest" })
  }
  for (const { box } of boxes) box.addEventListener("change", update)
  update()
}

/** What of the ticked lines a disk has no room for, in words. @param {any[]} lines @returns {string} */
function lack(lines) {
  for (const disk of new Set(lines.map((line) => line.disk))) {
    const wanted = lines.filter((line) => line.missing_bytes && line.disk === disk)
    const bytes = wanted.reduce((sum, line) => sum + line.missing_bytes, 0)
    const free = wanted[0]?.free_bytes
    if (bytes > free) return `The ticked models need ${size(bytes)}, but their disk has room for ${size(free)}. Untick some.`
  }
  return ""
}

/** @param {string} text @param {number} count */
function heading(text, count) {
  return make("h3", null, `${text} (${count})`)
}

/** @param {any} line @param {Node[]} facts @param {Choice[]} boxes */
function row(line, facts, boxes) {
  // What can run code merely by being loaded is never ticked beforehand.
  const box = make("input", { type: "checkbox", checked: !line.pickle })
  boxes.push({ line, box })
  const bytes = line.size_bytes === null ? "" : `, ${size(line.size_bytes)}`
  return make("li", null, make("label", null, box, `${line.name}${bytes}`), make("div", { className: "facts" }, ...facts))
}

/** @param {any} line */
function packFacts(line) {
  const pinned = line.commit ? ` at ${line.commit.slice(0, 12)}` : line.version ? `, version ${line.version}` : ""
  const how = line.method === "git" ? "git clone of " : "Archive of "
  const facts = [fact([how, ...address(line.source), pinned], line.commit)]
  if (line.classes.length) facts.push(fact(`For the nodes ${some(line.classes)}`))
  if (line.packages === null) facts.push(fact("Its requirements.txt is shown to you before anything of it is installed."))
  else if (line.packages.length) facts.push(fact(`pip install ${line.packages.join("  ")}`))
  else facts.push(fact("It announces no packages; if it has some after all, you are asked."))
  if (line.left_out.length) facts.push(warning(`Not installed: ${line.left_out.join("  ")}`))
  return [...facts, ...line.notes.map(warning)]
}

/** @param {any} line */
function modelFacts(line) {
  const hash = line.sha256 ? `, SHA-256 ${line.sha256.slice(0, 12)}…` : ""
  const unknown = line.size_bytes === null ? "The host does not tell its size. " : ""
  return [fact([`${unknown}From `, ...address(line.source), hash], line.sha256), ...line.notes.map(warning)]
}

/** @param {any} line */
function refusedRow(line) {
  const facts = [warning(`Refused: ${line.refused}`)]
  if (line.source) facts.push(fact(line.source))
  if (line.classes?.length) facts.push(fact(`Needed for the nodes ${some(line.classes)}`))
  const name = make("strong", null, line.name)
  return make("li", { className: "refused" }, name, make("div", { className: "facts" }, ...facts))
}

/** @param {string[]} names */
function some(names) {
  return names.slice(0, 6).join(", ") + (names.length > 6 ? ` and ${names.length - 6} more` : "")
}

/** A URL in which its host stands out: who sends the file matters most. @param {string} url @returns {(Node | string)[]} */
function address(url) {
  const [, scheme, host, path] = /^([a-z]+:\/\/)([^/]+)(.*)$/.exec(url) ?? ["", url, "", ""]
  return [scheme, make("strong", null, host), path]
}

/** @param {string | (Node | string)[]} content @param {string | null} [title] */
function fact(content, title) {
  return make("p", { className: "quiet", title: title ?? "" }, ...(typeof content === "string" ? [content] : content))
}

/** @param {string} text */
function warning(text) {
  return make("p", { className: "warn" }, text)
}
