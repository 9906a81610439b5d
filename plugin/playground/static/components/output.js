// <runflow-output>: one file of a run: picture, video, sound or 3D model where the browser can show it, and a link.
import { make, size } from "./dom.js"
import "./model.js"
import { RunflowModel } from "./model.js"

/** @typedef {import("./types").OutputFile} OutputFile */

const MODELS = ["model/gltf-binary", "model/gltf+json"]

/** Set `output`, and `label` where the output has one; before the element is connected. */
export class RunflowOutput extends HTMLElement {
  /** @type {OutputFile | null} */
  output = null
  label = ""

  connectedCallback() {
    const file = this.output
    if (!file || this.firstChild) return
    const name = file.filename ?? decodeURIComponent(new URL(file.url, document.baseURI).pathname.split("/").pop() ?? "")
    const title = this.label || file.output_id
    const link = make("a", { class: "rf-button", href: file.url, download: name }, "Download")
    link.setAttribute("aria-label", `Download ${name}`)
    const facts = [name, file.content_type, size(file.size_bytes)].filter(Boolean).join(" · ")
    const caption = make("figcaption", { class: "rf-caption" })
    caption.append(make("div", null, make("strong", { dir: "auto" }, title), make("div", { class: "rf-quiet" }, facts)), link)
    this.append(make("figure", { class: "rf-output" }, preview(file, title), caption))
  }
}

/** @param {OutputFile} file @param {string} title @returns {HTMLElement | null} */
function preview(file, title) {
  const kind = file.content_type.split("/")[0]
  if (kind === "image") return picture(file, title)
  if (kind === "video" || kind === "audio") {
    const player = make(kind, { controls: true, preload: "metadata", src: file.url, class: `rf-${kind}` })
    player.setAttribute("aria-label", title)
    player.addEventListener("error", () => {
      player.replaceWith(make("p", { class: "rf-quiet" }, `This browser cannot play ${file.content_type}. Download it.`))
    })
    return player
  }
  if (!MODELS.includes(file.content_type)) return null
  const model = new RunflowModel()
  Object.assign(model, { src: file.url, label: title })
  return model
}

/** @param {OutputFile} file @param {string} title */
function picture(file, title) {
  const image = make("img", { src: file.url, alt: title, class: "rf-picture", loading: "lazy" })
  const button = make("button", { type: "button", class: "rf-picture-button" }, image)
  button.setAttribute("aria-label", `${title}: full size`)
  image.addEventListener("error", () => {
    button.replaceWith(make("p", { class: "rf-quiet" }, "This picture cannot be shown. Its file may have been removed."))
  })
  button.addEventListener("click", () => {
    const full = make("img", { src: file.url, alt: title })
    const close = make("button", { type: "button", class: "rf-button", autofocus: true }, "Close")
    const pixels = make("button", { type: "button", class: "rf-button", "aria-pressed": "false" }, "Every pixel")
    const buttons = make("div", { class: "rf-full-buttons" }, pixels, close)
    const scroll = make("div", { class: "rf-full-scroll", tabIndex: 0, role: "group", "aria-label": title }, full)
    const dialog = make("dialog", { class: "rf-full", "aria-label": title }, buttons, scroll)
    close.addEventListener("click", () => dialog.close())
    // Fitted first; the button or a click shows every pixel, another one fits again.
    const toggle = () => pixels.setAttribute("aria-pressed", String(full.classList.toggle("rf-every-pixel")))
    for (const element of [pixels, full]) element.addEventListener("click", toggle)
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close())
    dialog.addEventListener("close", () => {
      dialog.remove()
      button.focus()
    })
    document.body.append(dialog)
    dialog.showModal()
  })
  return button
}

customElements.define("runflow-output", RunflowOutput)
