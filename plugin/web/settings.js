// Settings > Runflow > Connection: the server's address, and the key, of which the page learns only the end.
import { app } from "../../scripts/app.js"
import { make } from "./dialog.js"
import { ask } from "./server.js"

const KEY = "/runflow/connection/key"
const URL_SETTING = "Runflow.ApiUrl"
// Room for an address with its port; on a phone the label keeps its place beside the field.
const WIDTH = "min(320px, 52vw)"
const COLOURS = { good: "#2f9e5a", bad: "#d9a514" }

/** What the plugin told last; null before it did. @type {any} */
let connection = null
/** The field for the address that is shown. @type {HTMLInputElement | null} */
let address = null
/** The setting; ComfyUI tells a change before its own store has it. */
let stored = ""
/** Shows what is known about the address and the key; set by the field for the key. */
let compare = () => {}
/** Asks the server about both; set by the field for the key. */
let check = () => {}

/** How often a key was stored or forgotten here. */
let changes = 0

/** Ask what is connected. An answer that was on its way while the key changed is old, and tells nothing. */
async function learn() {
  const before = changes
  const told = await ask("GET", "/runflow/connection")
  if (changes === before) connection = told
  return connection ?? told
}

/**
 * Store or forget the key, and learn what is connected then.
 * @param {"PUT" | "DELETE"} method @param {object} [body]
 */
async function change(method, body) {
  changes += 1
  connection = await ask(method, KEY, body)
  changes += 1
}

/** @param {string} url @returns {string} Empty where it is no address of a server, such as localhost:8700. */
function originOf(url) {
  try {
    const { protocol, origin } = new URL(url.trim())
    return ["http:", "https:"].includes(protocol) ? origin : ""
  } catch {
    return ""
  }
}

/** The address that is named or, while nobody named one, that of the key or of this machine's server. */
const named = () => stored.trim() || connection?.key_origin || connection?.local_url || ""

/** @param {HTMLElement} element */
function dress(element) {
  element.style.cssText = "padding: 6px 8px; border-radius: 6px; font: inherit; border: 1px solid var(--border-color, #4e4e4e);"
  element.style.background = "var(--comfy-input-bg, #222)"
  element.style.color = "var(--input-text, #ddd)"
  if (element instanceof HTMLInputElement) element.style.cssText += "box-sizing: border-box; width: 100%;"
  else element.style.padding = "6px 12px"
}

/**
 * Keep keys from the editor, which has shortcuts for many; Escape closes the settings.
 * @param {KeyboardEvent} event
 */
function keepFromEditor(event) {
  if (event.key !== "Escape") event.stopPropagation()
}

/** A line below a field, that screen readers speak when it changes. */
function noteLine() {
  const note = make("p", { hidden: true, role: "status" })
  note.style.cssText = "margin: 0; width: 100%; font-size: 12px; overflow-wrap: anywhere; color: var(--descrip-text, #999)"
  return note
}

/** @param {HTMLElement} note @param {string} text @param {"good" | "bad"} [how] */
function say(note, text, how) {
  note.textContent = text
  note.hidden = !text
  note.style.color = how ? `color-mix(in srgb, ${COLOURS[how]} 60%, var(--input-text, #ddd))` : "var(--descrip-text, #999)"
}

/** @param {...Node} children */
function fieldOf(...children) {
  const field = make("div", { className: "runflow-connection" }, ...children)
  field.style.cssText = `display: flex; flex-wrap: wrap; gap: 6px; align-items: center; justify-content: flex-end; width: ${WIDTH}`
  return field
}

/** The field for the address: what nobody typed is a proposal, and becomes the setting with Save. */
function urlField(/** @type {string} */ _name, /** @type {(value: unknown) => void} */ setter) {
  stored = String(app.extensionManager.setting.get(URL_SETTING) || "")
  const choices = make("datalist", { id: "runflow-servers" })
  const input = make("input", { type: "url", id: URL_SETTING, spellcheck: false, autocomplete: "off", ariaLabel: "API URL" })
  input.setAttribute("list", choices.id)
  const note = noteLine()
  dress(input)
  address = input
  input.addEventListener("keydown", keepFromEditor)
  const tell = () => {
    if (!connection) return
    const { local_url: local, hosted_url: hosted } = connection
    if (!named()) say(note, `No Runflow server answers on this machine. Start one with runflow up, or type the address of yours. The hosted one is ${hosted}.`)
    else say(note, !stored && named() === local ? "Found on this machine." : "")
  }
  input.addEventListener("change", () => {
    stored = input.value.trim()
    setter(stored)
    if (!stored) input.value = named()
    tell()
    compare()
    check()
  })
  learn().then(
    ({ local_url: local, hosted_url: hosted }) => {
      choices.append(...[local, hosted].filter(Boolean).map((value) => make("option", { value })))
      if (!input.value) input.value = named()
      input.placeholder = "http://127.0.0.1:8700"
      tell()
      compare()
    },
    () => {}, // the field for the key says why
  )
  input.value = stored
  return fieldOf(input, choices, note)
}

/** The stored key is never in the page: this element sends a new one and shows how the stored one ends. */
function keyField() {
  const input = make("input", { type: "password", autocomplete: "off", spellcheck: false, ariaLabel: "API key" })
  const save = make("button", { type: "button", disabled: true }, "Save")
  const forget = make("button", { type: "button", hidden: true }, "Forget")
  const note = noteLine()
  for (const element of [input, save, forget]) dress(element)

  /** The address that is shown, saved or not. */
  const url = () => address?.value.trim() || named()
  /** @returns {boolean} Whether the stored key is for that address. */
  const fits = () => connection?.key_hint !== null && connection?.key_origin === originOf(url())
  compare = () => {
    if (!connection) return say(note, said.text, said.how)
    const { key_hint: hint, key_origin: origin } = connection
    input.placeholder = !fits() ? "rf_live_…" : hint ? `stored, ends in ${hint}` : "stored"
    forget.hidden = hint === null
    save.disabled = !input.value.trim() && !fits()
    const other = hint !== null && !fits() && originOf(url())
    if (other) say(note, `The stored key${hint ? `, …${hint},` : ""} is for ${origin}. Paste one of ${other}.`)
    else if (said.url === url()) say(note, said.text, said.how)
    else say(note, "")
  }
  /** What was said last of an address: the editor makes the other field anew when its setting changes, and compares. */
  let said = { url: "", text: "", how: /** @type {"good" | "bad" | undefined} */ (undefined) }
  /** @param {string} text @param {"good" | "bad"} [how] @param {string} [about] */
  const tell = (text, how, about = url()) => {
    said = { url: about, text, how }
    compare()
  }
  let asked = 0
  check = () => {
    // What is no address at all is for the plugin to say.
    if (!connection || !url() || (originOf(url()) && connection.key_hint !== null && !fits())) return
    asked += 1
    const [mine, about] = [asked, url()]
    tell("Asking the server…")
    /** @param {string} text @param {boolean} ok */
    const answer = (text, ok) => {
      if (mine === asked) tell(text, ok ? "good" : "bad", about)
    }
    ask("POST", "/runflow/connection/check", { api_url: about }).then(
      ({ ok, message }) => answer(message, ok),
      (error) => answer(error.message, false),
    )
  }
  const show = () => {
    input.value = ""
    tell("")
  }
  const store = async () => {
    const wanted = url()
    try {
      if (input.value.trim()) {
        await change("PUT", { api_key: input.value, api_url: wanted })
        show()
        app.extensionManager.toast.add({ severity: "success", summary: "Runflow: API key saved", life: 4000 })
      }
      if (wanted !== stored) await app.extensionManager.setting.set(URL_SETTING, wanted)
      check()
    } catch (error) {
      tell(/** @type {Error} */ (error).message, "bad")
    }
  }
  input.addEventListener("input", () => (save.disabled = !input.value.trim() && !fits()))
  input.addEventListener("keydown", (event) => {
    keepFromEditor(event)
    if (event.key === "Enter" && !save.disabled) store()
  })
  save.addEventListener("click", store)
  forget.addEventListener("click", () =>
    change("DELETE").then(
      () => {
        show()
        app.extensionManager.toast.add({ severity: "success", summary: "Runflow: API key forgotten", life: 4000 })
      },
      (error) => tell(error.message, "bad"),
    ),
  )
  learn().then(compare, (error) => {
    input.disabled = true
    say(note, error.message)
  })
  return fieldOf(input, save, forget, note)
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
      type: urlField,
      defaultValue: "",
      onChange: (value) => {
        stored = String(value || "")
        if (address && stored) address.value = stored
        compare()
      },
    },
  ],
})
