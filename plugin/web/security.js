// Settings > Runflow: password authentication, and the button of the port exposure scan.
import { app } from "../../scripts/app.js"
import { choose, make } from "./dialog.js"
import { scan } from "./security_scan.js"
import { ask } from "./server.js"

const PASSWORD = "/runflow/security/password"
const PLAIN = location.protocol === "http:" && !["localhost", "127.0.0.1", "[::1]"].includes(location.hostname)

const SWITCH = `
.runflow-switch { appearance: none; position: relative; width: 40px; height: 22px; border-radius: 11px; cursor: pointer;
  background: #6e7781; transition: background 0.15s; }
.runflow-switch::before { content: ""; position: absolute; top: 3px; left: 3px; width: 16px; height: 16px;
  border-radius: 50%; background: #fff; transition: left 0.15s; }
.runflow-switch:checked { background: #0b6bcb; }
.runflow-switch:checked::before { left: 21px; }
.runflow-switch:focus-visible { outline: 2px solid #6bb3ff; outline-offset: 2px; }
`

/** @typedef {{enabled: boolean, username: string, least_characters: number, file: string}} Security */

/** The elements of the panel that is shown; Settings makes them anew each time it opens. */
const panel = {
  toggle: /** @type {HTMLInputElement | null} */ (null),
  username: /** @type {HTMLInputElement | null} */ (null),
  password: /** @type {HTMLInputElement | null} */ (null),
  save: /** @type {HTMLButtonElement | null} */ (null),
  state: /** @type {Security | null} */ (null),
}

/** @param {HTMLElement} element @param {string} [more] */
function style(element, more = "") {
  element.style.cssText =
    "padding: 6px 10px; border-radius: 6px; font: inherit; border: 1px solid var(--border-color, #4e4e4e);" +
    `background: var(--comfy-input-bg, #222); color: var(--input-text, #ddd); ${more}`
  return element
}

/** @param {string} summary @param {string} [detail] */
const told = (summary, detail) => app.extensionManager.toast.add({ severity: "success", summary, detail, life: 8000 })

/** @param {Security} state */
function show(state) {
  panel.state = state
  const { toggle, username, password, save } = panel
  if (toggle) toggle.checked = state.enabled
  if (username && document.activeElement !== username && !username.value) username.value = state.username
  if (password) password.placeholder = state.enabled ? "set; type to change" : `${state.least_characters} characters or more`
  if (save) {
    save.hidden = !state.enabled
    save.disabled = !changed()
  }
}

const changed = () => !!panel.password?.value

/** Have the plugin's answer shown, also where the panel was made before it came. */
async function refresh() {
  try {
    show(await ask("GET", "/runflow/security"))
  } catch (error) {
    alert(`Runflow: ${/** @type {Error} */ (error).message}`)
  }
}

/** A field for a password in a dialog. @param {string} name @param {string} autocomplete */
function passwordRow(name, autocomplete) {
  const input = make("input", { type: "password", autocomplete, ariaLabel: name })
  style(input, "flex: 1")
  const label = make("label", null, name, input)
  label.style.cssText = "display: flex; gap: 10px; align-items: center; margin-top: 12px"
  return { input, label }
}

/**
 * Show a dialog with password fields; Enter in one of them is the same as the first button.
 * @param {string} title @param {string} action @param {Node[]} body @param {ReturnType<typeof passwordRow>[]} rows
 * @returns {Promise<boolean>} False: the person went back.
 */
async function agreed(title, action, body, rows) {
  const actions = [
    { label: action, value: "go", main: true },
    { label: "Cancel", value: "cancel" },
  ]
  const choice = await choose(title, [...body, ...rows.map((row) => row.label)], actions, (dialog) => {
    rows[0].input.focus()
    for (const { input } of rows)
      input.addEventListener("keydown", (event) => {
        if (event.key === "Enter") dialog.close("go")
      })
  })
  return choice === "go"
}

/** @param {string[]} lines */
const paragraphs = (lines) => lines.map((line) => make("p", null, line))

/** A new password is typed twice: a slip would lock its owner out. @param {string} first @param {string} second */
function mustBeSame(first, second) {
  if (first !== second) throw new Error("The two new passwords differ. Nothing has changed.")
}

/** Say so before anybody repeats it. The plugin has the last word. @param {string} password @param {Security} state */
function mustBeLong(password, state) {
  const least = state.least_characters
  if ([...password].length >= least) return
  panel.password?.focus()
  throw new Error(`Take a password of ${least} characters or more. Nothing has changed.`)
}

/** @param {Security} state */
function whatHappens(state) {
  const lines = [
    "From now on ComfyUI answers nobody without this username and password: not this page, not its other windows, not programs.",
    "Your browser asks for them once, next, and keeps them until it is closed.",
    "A worker that uses this ComfyUI by its address needs RUNFLOW_COMFYUI_USERNAME and RUNFLOW_COMFYUI_PASSWORD.",
    `Forgotten? Delete ${state.file} in ComfyUI's folder on its machine.`,
  ]
  const body = [make("ul", null, ...lines.map((line) => make("li", null, line)))]
  if (PLAIN) {
    const warning =
      "This page came over plain http: whoever can watch the network between here and ComfyUI can read the password. " +
      "Use TLS (--tls-keyfile, --tls-certfile, or a proxy) or a tunnel."
    body.push(/** @type {any} */ (make("p", { className: "notice" }, `⚠ ${warning}`)))
  }
  return body
}

async function switchOn() {
  const state = panel.state
  const username = panel.username?.value.trim() ?? ""
  const password = panel.password?.value ?? ""
  if (!state) return
  if (!username || !password) {
    const empty = username ? panel.password : panel.username
    empty?.focus()
    return alert("Runflow: Fill in Username and Password first.")
  }
  mustBeLong(password, state)
  const again = passwordRow("Repeat the password", "new-password")
  if (!(await agreed("Enable password authentication?", "Switch on", whatHappens(state), [again]))) return
  mustBeSame(password, again.input.value)
  await ask("PUT", PASSWORD, { username, password })
  emptyPassword()
  told("Password authentication is on", "Your browser asks for the username and password next.")
}

async function switchOff() {
  const current = passwordRow("Current password", "current-password")
  const body = paragraphs(["Everybody who reaches this ComfyUI can use it then, and run code on this machine."])
  if (!(await agreed("Switch password authentication off?", "Switch off", body, [current]))) return
  await ask("DELETE", PASSWORD, { current_password: current.input.value })
  if (panel.username) panel.username.value = ""
  emptyPassword()
  told("Password authentication is off")
}

async function change() {
  const account = { username: panel.username?.value.trim() ?? "", password: panel.password?.value ?? "" }
  if (panel.state) mustBeLong(account.password, panel.state)
  const current = passwordRow("Current password", "current-password")
  const again = passwordRow("Repeat the new one", "new-password")
  const body = paragraphs(["Every browser and program has to send the new password from then on. Yours asks for it next."])
  if (!(await agreed("Change username and password?", "Change", body, [current, again]))) return
  mustBeSame(account.password, again.input.value)
  await ask("PUT", PASSWORD, { ...account, current_password: current.input.value })
  emptyPassword()
  told("Username and password are changed", "Your browser asks for them next.")
}

function emptyPassword() {
  if (panel.password) panel.password.value = ""
}

/** @param {() => Promise<void>} action Run it, show what came of it. */
async function act(action) {
  try {
    await action()
  } catch (error) {
    alert(`Runflow: ${/** @type {Error} */ (error).message}`)
  }
  await refresh() // the first request with the new state: here the browser asks
}

function toggleField() {
  const toggle = make("input", { type: "checkbox", ariaLabel: "Enable password authentication" })
  toggle.setAttribute("role", "switch")
  toggle.className = "runflow-switch"
  if (!document.getElementById("runflow-switch-style"))
    document.head.append(make("style", { id: "runflow-switch-style", textContent: SWITCH }))
  toggle.addEventListener("change", () => {
    const on = toggle.checked
    toggle.checked = panel.state?.enabled ?? false // it shows what is, and changes when that has
    act(on ? switchOn : switchOff)
  })
  panel.toggle = toggle
  refresh()
  return toggle
}

/** @param {"username" | "password"} name @param {HTMLInputElement} input */
function textField(name, input) {
  style(input, "width: min(270px, 52vw)")
  input.addEventListener("keydown", (event) => event.stopPropagation())
  panel[name] = input
  return input
}

function usernameField() {
  const input = make("input", { type: "text", autocomplete: "off", spellcheck: false, ariaLabel: "Username" })
  return textField("username", input)
}

function passwordField() {
  const input = textField("password", make("input", { type: "password", autocomplete: "new-password", ariaLabel: "Password" }))
  const save = make("button", { type: "button", hidden: true, disabled: true }, "Change")
  style(save)
  save.addEventListener("click", () => act(change))
  input.addEventListener("input", () => (save.disabled = !changed()))
  panel.save = save
  const field = make("div", null, input, save)
  field.style.cssText = "display: flex; flex-wrap: wrap; gap: 6px; align-items: center; justify-content: flex-end"
  return field
}

function scanButton() {
  const button = make("button", { type: "button" }, "Run security scan")
  style(button, "cursor: pointer")
  button.addEventListener("click", () => scan())
  return button
}

const GROUP = "Password authentication"

app.registerExtension({
  name: "Runflow.Security",
  // None of these has a value that ComfyUI stores: the fields send to the plugin, which keeps a hash in a file.
  settings: [
    {
      id: "Runflow.Security.Scan",
      category: ["Runflow", "Port exposure scan", "Scan"],
      name: "Is this ComfyUI reachable from the internet?",
      tooltip: "Shows where ComfyUI listens, and asks before it tells any service your public address.",
      type: scanButton,
      defaultValue: null,
    },
    {
      id: "Runflow.Security.Password",
      category: ["Runflow", GROUP, "Password"],
      name: "Password",
      tooltip: "Kept as a salted scrypt hash in runflow_security.json in ComfyUI's folder; never in ComfyUI's settings.",
      type: passwordField,
      defaultValue: null,
    },
    {
      id: "Runflow.Security.Username",
      category: ["Runflow", GROUP, "Username"],
      name: "Username",
      tooltip: "Credentials checked by the auth layer.",
      type: usernameField,
      defaultValue: null,
    },
    {
      id: "Runflow.Security.Enabled",
      category: ["Runflow", GROUP, "Enabled"],
      name: "Enable password authentication",
      tooltip: "Require HTTP Basic auth for all requests to this ComfyUI server.",
      type: toggleField,
      defaultValue: null,
    },
  ],
})
