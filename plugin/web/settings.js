// Settings > Runflow > Connection: the server's address, and the key, of which the page learns only the end.
import { app } from "../../scripts/app.js"
import { make } from "./dialog.js"
import { ask } from "./server.js"

const KEY = "/runflow/connection/key"
const URL_SETTING = "Runflow.ApiUrl"
// Room for an address with its port; on a phone the label keeps its place beside the field.
const WIDTH = "min(320px, 52vw)"

const DEFAULT_URL = "https://api.runflow.io"

/** The address that Settings names now. ComfyUI tells a change before its own store has it. */
let apiUrl = DEFAULT_URL

/** @param {string} url */
function originOf(url) {
  try {
    return new URL(url.trim()).origin
  } catch {
    return ""
  }
}

/** Shows whether the stored key is for that address; set by the field that is shown. */
let compareAddress = () => {}

/** The stored key is never in the page: this element sends a new one and shows how the stored one ends. */
function keyField() {
  apiUrl = String(app.extensionManager.setting.get(URL_SETTING) || DEFAULT_URL)
  const input = make("input", { type: "password", autocomplete: "off", spellcheck: false, ariaLabel: "API key" })
  const save = make("button", { type: "button", disabled: true }, "Save")
  const forget = make("button", { type: "button", hidden: true }, "Forget")
  const note = make("p", { hidden: true })
  note.style.cssText = `margin: 0; width: ${WIDTH}; font-size: 12px; color: var(--descrip-text, #999)`
  const field = make("div", null, input, save, forget, note)
  field.style.cssText = "display: flex; flex-wrap: wrap; gap: 6px; align-items: center; justify-content: flex-end"
  input.style.cssText = `width: ${WIDTH}; padding: 6px 8px; border-radius: 6px; font: inherit;`
  for (const element of [input, save, forget]) {
    element.style.border = "1px solid var(--border-color, #4e4e4e)"
    element.style.background = "var(--comfy-input-bg, #222)"
    element.style.color = "var(--input-text, #ddd)"
  }
  for (const button of [save, forget]) button.style.cssText += "padding: 6px 12px; border-radius: 6px; font: inherit;"

  /** @type {any} */
  let connection = null
  /** @param {string} text */
  const say = (text) => {
    note.textContent = text
    note.hidden = !text
  }
  const compare = () => {
    if (!connection) return
    const { key_hint: hint, key_origin: origin } = connection
    const fits = origin === originOf(apiUrl)
    input.placeholder = hint === null || !fits ? "rf_live_…" : hint ? `stored, ends in ${hint}` : "stored"
    say(hint === null || fits ? "" : `The stored key${hint ? `, …${hint},` : ""} is for ${origin}. Paste one of ${originOf(apiUrl) || "this server"}.`)
  }
  compareAddress = compare
  /** @param {any} told */
  const show = (told) => {
    connection = told
    input.value = ""
    forget.hidden = told.key_hint === null
    save.disabled = true
    compare()
  }
  /** @param {Promise<any>} answer @param {string} [done] */
  const settle = (answer, done) =>
    answer.then(
      (told) => {
        show(told)
        if (done) app.extensionManager.toast.add({ severity: "success", summary: `Runflow: ${done}`, life: 4000 })
      },
      (error) => alert(`Runflow: ${error.message}`),
    )
  const store = () => settle(ask("PUT", KEY, { api_key: input.value, api_url: apiUrl }), "API key saved")
  input.addEventListener("input", () => (save.disabled = !input.value.trim()))
  input.addEventListener("keydown", (event) => {
    event.stopPropagation()
    if (event.key === "Enter" && !save.disabled) store()
  })
  save.addEventListener("click", store)
  forget.addEventListener("click", () => settle(ask("DELETE", KEY), "API key forgotten"))
  ask("GET", "/runflow/connection").then(show, (error) => {
    input.disabled = true
    say(error.message)
  })
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
      id: URL_SETTING,
      category: ["Runflow", "Connection", "ApiUrl"],
      name: "API URL",
      tooltip: "The Runflow server that Deploy publishes to. Your own: the address that `runflow up` prints.",
      type: "text",
      attrs: { style: `width: ${WIDTH}`, spellcheck: false, autocomplete: "off" },
      defaultValue: DEFAULT_URL,
      onChange: (value) => {
        apiUrl = String(value || DEFAULT_URL)
        compareAddress()
      },
    },
  ],
})
