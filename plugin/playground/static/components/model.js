// <runflow-model>: a 3D model that can be turned; where the viewer does not work, a sentence that says so.
import { make } from "./dom.js"

const VIEWER = new URL("../vendor/model-viewer.min.js", import.meta.url).href

/** @type {Promise<unknown> | null} */
let loading = null

/** Loaded when the first model is shown: it is a megabyte. */
function loadViewer() {
  if (!document.createElement("canvas").getContext("webgl2")) return Promise.reject(new Error("no WebGL"))
  loading ??= import(VIEWER)
  return loading
}

/** Set `src` and `label`. */
export class RunflowModel extends HTMLElement {
  src = ""
  label = ""

  async connectedCallback() {
    if (this.firstChild) return
    const waiting = make("p", { class: "rf-quiet" }, "Loading the 3D viewer…")
    this.append(waiting)
    try {
      await loadViewer()
      const viewer = document.createElement("model-viewer")
      const looks = { loading: "eager", "shadow-intensity": "0.6", "interaction-prompt": "none", "touch-action": "pan-y" }
      const attributes = { src: this.src, alt: this.label, "camera-controls": "", ...looks }
      for (const [name, value] of Object.entries(attributes)) viewer.setAttribute(name, value)
      viewer.addEventListener("error", () => this.#giveUp("This model cannot be shown here."))
      this.replaceChildren(viewer)
    } catch {
      loading = null
      this.#giveUp("The 3D viewer does not work in this browser (it needs WebGL).")
    }
  }

  /** @param {string} reason */
  #giveUp(reason) {
    this.replaceChildren(make("p", { class: "rf-quiet" }, `${reason} Download the file instead.`))
  }
}

customElements.define("runflow-model", RunflowModel)
