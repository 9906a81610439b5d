// Settings > Runflow > Connection: the server's address, and the key, of which the page learns only the end.
import { app } from "../../scripts/app.js"
import { make } from "./dialog.js"
import { ask } from "./server.js"

const KEY = "/runflow/connection/key"
// Room for an address with its port; on a phone the label keeps its place beside the field.
const WIDTH = "min(320px, 52vw)"

/** The stored key is never in the page: this element sends a new one and shows how the stored one ends. */
function keyField() {
  const input = make("input", { type: "password", autocomplete: "off", spellcheck: false, ariaLabel: "API key" })
  const save = make("button", { type: "button", disabled: true }, "Save")
  const forget = make("button", { type: "button", hidden: true }, "Forget")
  const field = make("div", null, input, save, forget)
  field.style.cssText = "display: flex; flex-wrap: wrap; gap: 6px; align-items: center; justify-content: flex-end"
  input.style.cssText = `width: ${WIDTH}; padding: 6px 8px; border-radius: 6px; font: inherit;`
  for (const element of [input, save, forget]) {
    element.style.border = "1px solid var(--border-color, #4e4e4e)"
    element.style.background = "var(--comfy-input-bg, #222)"
    element.style.color = "var(--input-text, #ddd)"
  }
  for (const button of [save, forget]) button.style.cssText += "padding: 6px 12px; border-radius: 6px; font: inherit;"

  /** @param {any} connection */
  const show = (connection) => {
    const hint = connection.key_hint
    input.value = ""
    input.placeholder = hint === null ? "rf_live_…" : hint ? `stored, ends in ${hint}` : "stored"
    forget.hidden = hint === null
    save.disabled = true
  }
  /** @param {Promise<any>} answer @param {string} [done] */
  const settle = (answer, done) =>
    answer.then(
      (connection) => {
        show(connection)
        if (done) app.extensionManager.toast.add({ severity: "success", summary: `Runflow: ${done}`, life: 4000 })
      },
      (error) => alert(`Runflow: ${error.message}`),
    )
  const store = () => settle(ask("PUT", KEY, { api_key: input.value }), "API key saved")
  input.addEventListener("input", () => (save.disabled = !input.value.trim()))
  input.addEventListener("keydown", (event) => {
    event.stopPropagation()
    if (event.key === "Enter" && !save.disabled) store()
  })
  save.addEventListener("click", store)
  forget.addEventListener("click", () => settle(ask("DELETE", KEY), "API key forgotten"))
  settle(ask("GET", "/runflow/connection"))
  return field
}

app.registerExtension({
  name: "Runflow.Connection",
  settings: [
    {
      id: "Runflow.ApiKey",
      category: ["Runflow", "Connection", "ApiKey"],
      name: "API key",
      tooltip: "Kept in a file of its own on ComfyUI's machine; never in workflows, never readable by a page.",
      type: keyField,
      defaultValue: "",
    },
    {
      id: "Runflow.ApiUrl",
      category: ["Runflow", "Connection", "ApiUrl"],
      name: "API URL",
      tooltip: "The Runflow server that Deploy publishes to. Your own: the address that `runflow up` prints.",
      type: "text",
      attrs: { style: `width: ${WIDTH}`, spellcheck: false, autocomplete: "off" },
      defaultValue: "https://api.runflow.io",
    },
  ],
})
