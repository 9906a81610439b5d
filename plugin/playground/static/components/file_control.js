// The control of a form for pictures and files: choose, drop or paste; stored at once, with a preview.
import { FieldProblem } from "./controls.js"
import { make, size } from "./dom.js"

/** @typedef {import("./types").Control} Control @typedef {import("./types").InputRow} InputRow */
/** @typedef {import("./types").FormTools} FormTools */

/** @param {InputRow} row @param {FormTools} tools @returns {Control} */
export function fileControl(row, tools) {
  const picture = row.variable_type_code === "image"
  const noun = picture ? "picture" : "file"
  /** @type {string | null} */
  let value = null
  /** @type {AbortController | null} The upload that is under way. */
  let sending = null
  let failure = ""

  const input = make("input", { type: "file", class: "rf-hidden", accept: picture ? "image/*" : "" })
  const image = make("img", { class: "rf-thumb", alt: "", hidden: true })
  const title = make("span", { class: "rf-drop-title", dir: "auto" })
  const hint = make("span", { class: "rf-quiet" })
  const bar = make("progress", { max: 1, hidden: true, "aria-label": "Upload" })
  const zone = make("label", { class: "rf-drop" }, input, image, make("span", { class: "rf-drop-text" }, title, hint, bar))
  const remove = make("button", { type: "button", class: "rf-button", hidden: true })
  const element = make("div", { class: "rf-file" }, zone, remove)

  const show = () => {
    const preview = value !== null && picture ? tools.preview(value, row) : null
    image.hidden = !preview
    if (preview) {
      if (image.getAttribute("src") !== preview) image.src = preview
    } else image.removeAttribute("src")
    bar.hidden = !sending
    title.textContent = value ?? `Choose a ${noun}`
    hint.textContent = value === null ? "or drop it here" : "choose or drop another one"
    zone.classList.toggle("rf-filled", value !== null)
    remove.textContent = sending ? "Stop" : "Remove"
    remove.setAttribute("aria-label", `${sending ? "Stop the upload of" : "Remove"} ${row.display_name || row.name}`)
    remove.hidden = value === null && !sending && !failure
  }

  const stop = () => {
    sending?.abort()
    sending = null
  }

  /** @param {string} problem */
  const refuse = (problem) => {
    failure = problem
    show()
    element.dispatchEvent(new CustomEvent("rf-problem", { detail: failure, bubbles: true }))
  }

  /** @param {File} file */
  const take = async (file) => {
    stop()
    failure = ""
    if (picture && file.type && !file.type.startsWith("image/")) {
      refuse(`“${file.name}” is no picture. Choose a picture.`)
      return
    }
    const mine = new AbortController()
    sending = mine
    bar.removeAttribute("value")
    show()
    title.textContent = `Uploading ${file.name}`
    hint.textContent = size(file.size)
    /** @param {number} part */
    const progress = (part) => {
      if (sending !== mine) return
      bar.value = part
      hint.textContent = `${Math.floor(part * 100)} % of ${size(file.size)}`
    }
    let problem = ""
    let stored = value
    try {
      stored = await tools.upload(file, row, progress, mine.signal)
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error)
    }
    if (sending !== mine) return // stopped, or another file was chosen meanwhile
    sending = null
    value = stored
    show()
    tools.changed()
    if (problem) refuse(problem)
  }

  input.addEventListener("change", () => {
    const file = input.files?.[0]
    input.value = "" // the same file again must be a change too
    if (file) take(file)
  })
  image.addEventListener("error", () => (image.hidden = true))
  remove.addEventListener("click", () => {
    if (!sending) value = null
    stop()
    failure = ""
    show()
    input.focus()
    tools.changed()
  })
  zone.addEventListener("dragover", (event) => {
    event.preventDefault()
    zone.classList.add("rf-over")
  })
  for (const end of ["dragleave", "drop"]) zone.addEventListener(end, () => zone.classList.remove("rf-over"))
  zone.addEventListener("drop", (event) => {
    event.preventDefault()
    const file = event.dataTransfer?.files[0]
    if (file) take(file)
  })
  element.addEventListener("paste", (event) => {
    const file = event.clipboardData?.files[0]
    if (file) take(file)
  })
  show()
  return {
    element,
    focusable: input,
    read() {
      if (sending) throw new FieldProblem(`Wait until the ${noun} is uploaded.`)
      if (failure) throw new FieldProblem(failure)
      if (value !== null) return value
      if (row.is_required) throw new FieldProblem(`Choose a ${noun}.`)
      return null
    },
    write(given) {
      stop()
      value = given === null || given === "" ? null : String(given)
      failure = ""
      show()
    },
  }
}
