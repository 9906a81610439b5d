// What a deployment would send, shown before anything leaves this machine.
import { choose, make, size } from "./dialog.js"

/**
 * @param {string} title
 * @param {Node[]} rows
 * @param {string} none What to say where there are no rows; empty: nothing at all.
 * @returns {Node[]}
 */
function section(title, rows, none) {
  if (!rows.length && !none) return []
  const content = rows.length ? make("ul", null, ...rows) : make("p", { className: "quiet" }, none)
  return [make("h3", null, rows.length ? `${title} (${rows.length})` : title), content]
}

/** @param {any} model */
function modelRow(model) {
  const row = make("li", null, `${model.path}, ${size(model.size_bytes)}: `)
  if (model.url) row.append(make("span", { className: "quiet" }, model.url))
  else row.append(make("span", { className: "warn" }, "no source known; upload it where the server offers that, or put it on every worker"))
  return row
}

/** @param {any} row */
function cachedRow(row) {
  const files = row.files === 1 ? "" : `, ${row.files} files`
  return make("li", null, `${row.name}${files}${row.size_bytes === null ? "" : `, ${size(row.size_bytes)}`}`)
}

/** @param {any} node */
function nodeRow(node) {
  const row = make("li", null, `${node.name}: `)
  if (node.plugin) {
    row.append(make("span", { className: "quiet" }, `version ${node.version}; every worker brings its own`))
    return row
  }
  if (!node.commit && node.registry_id) {
    row.append(make("span", { className: "quiet" }, `${node.registry_id} ${node.version ?? ""} of the Comfy Registry`))
    return row
  }
  if (!node.commit) {
    const version = node.version ? `version ${node.version}, ` : ""
    row.append(make("span", { className: "warn" }, `${version}no commit known; put it on every worker`))
    return row
  }
  row.append(make("span", { className: "quiet" }, `${node.origin ?? "no origin"} at ${node.commit.slice(0, 10)}`))
  if (node.dirty) row.append(make("span", { className: "warn" }, ", changed since: the changes are not sent"))
  return row
}

const DEFAULT_SHOWN = 60

/** @param {any} row */
function inputRow(row) {
  // An integer that is longer than JavaScript's numbers comes as text.
  const text = row.type === "int" && row.default !== null ? String(row.default) : JSON.stringify(row.default)
  const shown = text.length > DEFAULT_SHOWN ? `${text.slice(0, DEFAULT_SHOWN)}…` : text
  const filled = row.default === null ? (row.required ? "" : "no default") : `default ${shown}`
  const facts = [row.type, row.required ? "required" : "optional", filled, row.limits].filter(Boolean).join(", ")
  return make("li", null, make("strong", null, row.name), `: ${facts}`)
}

/** @param {any} row */
function outputRow(row) {
  return make("li", null, make("strong", null, row.name), `: ${row.type}`)
}

/**
 * The code that the person may approve with the deployment, and the box that says whether.
 * @param {any[]} sources
 * @param {HTMLInputElement} box
 * @returns {Node[]}
 */
function approval(sources, box) {
  if (!sources.length) return []
  const rows = sources.map((one) => {
    const from = make("span", { className: "quiet" }, `${one.origin} at ${one.commit.slice(0, 10)}`)
    return make("li", null, `${one.name}: `, from)
  })
  const text = "Approve this code, in exactly these commits: workers that lack it may build it and run it"
  const notice = make("div", { className: "notice" }, make("label", null, box, text))
  return [make("h3", null, `New code for your workers (${rows.length})`), notice, make("ul", null, ...rows)]
}

const PREPARE = "Prepare a machine now: a worker builds and fetches what this version needs, so that its first run does not wait for it"
const TESTED = "The runs of the test prepare a machine."

/**
 * What the server can do with the version beside publishing it, each with its box.
 * @param {any} summary
 * @param {HTMLInputElement} prebuild
 * @param {HTMLInputElement} golden
 * @returns {Node[]}
 */
function beforehand(summary, prebuild, golden) {
  const { examples } = summary
  const rows = []
  if (summary.prebuild !== null) rows.push(make("p", null, make("label", null, prebuild, PREPARE)))
  if (examples.length) {
    const count = examples.length === 1 ? "the example" : `the ${examples.length} examples`
    const text = `Test with ${count} first (${examples.join(", ")}): what serves now goes on until each has succeeded`
    const note = make("span", { className: "quiet", hidden: true }, ` ${TESTED}`)
    golden.addEventListener("change", () => {
      prebuild.disabled = golden.checked
      note.hidden = !golden.checked
    })
    rows.push(make("p", null, make("label", null, golden, make("span", null, text, note))))
  }
  return rows.length ? [make("h3", null, "Before the first run"), ...rows] : []
}

/**
 * Show the summary and wait for the person.
 * @param {any} summary
 * @returns {Promise<{approve: boolean, prebuild: boolean, golden: boolean} | null>} Whether to approve the code that was
 *   shown for it, to prepare a machine, and to test it first; null: do not send.
 */
export async function confirmDeploy(summary) {
  const { comfyui, files, models, custom_nodes: nodes, warnings, approvable } = summary
  const box = make("input", { type: "checkbox", checked: approvable.length > 0 })
  const prebuild = make("input", { type: "checkbox", checked: summary.prebuild === true })
  const golden = make("input", { type: "checkbox" })
  const kept = "Both forms of the workflow, without the wires into its Runflow Input nodes, host and key."
  const version = `ComfyUI ${comfyui.version ?? ""} ${comfyui.commit ? `at ${comfyui.commit.slice(0, 10)}` : ""}`
  const which = summary.next_version ? `${summary.next_version}, unless nothing has changed` : "a new endpoint"
  const body = [
    make("p", null, "To ", make("strong", null, summary.origin), " as ", make("strong", null, summary.slug), `: ${which}.`),
    make("p", { className: "quiet" }, `${kept} The names of ${summary.packages} Python packages; ${version.trim()}.`),
  ]
  const fileRows = files.map((/** @type {any} */ file) => make("li", null, `${file.path}, ${size(file.size_bytes)}`))
  const warningRows = warnings.map((/** @type {string} */ text) => make("li", { className: "warn" }, text))
  const parts = [
    ...body,
    ...section("Warnings", warningRows, ""),
    ...approval(approvable, box), // before all that is long: what is ticked must be seen
    ...beforehand(summary, prebuild, golden),
    ...section("Inputs", summary.inputs.map(inputRow), "None: callers send nothing."),
    ...section("Outputs", summary.outputs.map(outputRow), "None named: everything that nodes save is delivered under their ids."),
    ...section("Files to upload", fileRows, "None: the workflow uses no file of the input folder."),
    ...section("Models it needs", models.map(modelRow), "None."),
    ...section("Files of the caches of Hugging Face and torch hub it needs", summary.cached_models.map(cachedRow), ""),
    ...section("Custom nodes it needs", nodes.map(nodeRow), "None."),
  ]
  const actions = [
    { label: "Deploy", value: "deploy", main: true },
    { label: "Cancel", value: "cancel" },
  ]
  const chosen = await choose(`Deploy “${summary.name}”`, parts, actions, (dialog) => {
    /** @type {HTMLButtonElement} */ (dialog.querySelector("button[value=deploy]")).focus()
  })
  if (chosen !== "deploy") return null
  return { approve: box.checked, prebuild: prebuild.checked && !golden.checked, golden: golden.checked }
}

// A larger one takes minutes, and the person decides.
const UPLOADED_UNASKED = 1e9

/**
 * Ask which of the models that exist only here shall go to the server.
 * @param {any[]} offers
 * @param {any} summary
 * @returns {Promise<string[] | null>} The paths of those chosen; null: stop here.
 */
export async function chooseModels(offers, summary) {
  /** @type {Map<string, HTMLInputElement>} */
  const boxes = new Map()
  const rows = offers.map((offer) => {
    const checked = offer.size_bytes <= UPLOADED_UNASKED || offer.received_bytes > 0
    const box = make("input", { type: "checkbox", checked })
    boxes.set(offer.path, box)
    const there = offer.received_bytes ? `, ${size(offer.received_bytes)} of it there already` : ""
    const text = `${offer.path}: upload (${size(offer.size_bytes)}${there})`
    return make("p", null, make("label", null, box, text))
  })
  const why = `${summary.origin} takes models that exist only on this machine and passes them to its workers. A model that is not uploaded has to be put on every worker.`
  const actions = [
    { label: "Continue", value: "continue", main: true },
    { label: "Cancel", value: "cancel" },
  ]
  const chosen = await choose("Upload models?", [make("p", null, why), ...rows], actions, (dialog) => {
    /** @type {HTMLButtonElement} */ (dialog.querySelector("button[value=continue]")).focus()
  })
  if (chosen !== "continue") return null
  return [...boxes].filter(([, box]) => box.checked).map(([path]) => path)
}
