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
  let uploading = 0
  let failure = ""

  const input = make("input", { type: "file", class: "rf-hidden", accept: picture ? "image/*" : "" })
  const image = make("img", { class: "rf-thumb", alt: "", hidden: true })
  const title = make("span", { class: "rf-drop-title" })
  const hint = make("span", { class: "rf-quiet" })
  const bar = make("progress", { max: 1, hidden: true, "aria-label": "Upload" })
  const zone = make("label", { class: "rf-drop" }, input, image, make("span", { class: "rf-drop-text" }, title, hint, bar))
  const remove = make("button", { type: "button", class: "rf-button", hidden: true }, "Remove")
  const element = make("div", { class: "rf-file" }, zone, remove)

  const show = () => {
    const preview = value !== null && picture ? tools.preview(value, row) : null
    image.hidden = !preview
    if (preview) {
      if (image.getAttribute("src") !== preview) image.src = preview
    } else image.removeAttribute("src")
    bar.hidden = !uploading
    title.textContent = uploading ? "Uploading…" : (value ?? `Choose a ${noun}`)
    hint.textContent = uploading ? "" : value === null ? "or drop it here" : "choose or drop another one"
    zone.classList.toggle("rf-filled", value !== null)
    remove.hidden = value === null || uploading > 0
  }

  /** @param {File} file */
  const take = async (file) => {
    uploading += 1
    const turn = uploading
    failure = ""
    bar.removeAttribute("value")
    show()
    title.textContent = `Uploading ${file.name}, ${size(file.size)}…`
    try {
      const stored = await tools.upload(file, row, (part) => (bar.value = part))
      if (turn === uploading) value = stored
    } catch (error) {
      if (turn === uploading) failure = error instanceof Error ? error.message : String(error)
    }
    if (turn !== uploading) return // another file was chosen meanwhile
    uploading = 0
    show()
    tools.changed()
    if (failure) element.dispatchEvent(new CustomEvent("rf-problem", { detail: failure, bubbles: true }))
  }

  input.addEventListener("change", () => {
    const file = input.files?.[0]
    input.value = "" // the same file again must be a change too
    if (file) take(file)
  })
  image.addEventListener("error", () => (image.hidden = true))
  remove.addEventListener("click", () => {
    value = null
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
      if (uploading) throw new FieldProblem(`Wait until the ${noun} is uploaded.`)
      if (failure) throw new FieldProblem(failure)
      if (value !== null) return value
      if (row.is_required) throw new FieldProblem(`Choose a ${noun}.`)
      return null
    },
    write(given) {
      value = given === null || given === "" ? null : String(given)
      failure = ""
      show()
    },
  }
}
