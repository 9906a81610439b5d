// Dialogs of the plugin in the editor's page: the browser's own <dialog>, in the editor's colours.

/**
 * A button of a dialog: `press` is called, else the dialog closes with `value`.
 * @typedef {{label: string, value?: string, main?: boolean, disabled?: boolean, press?: () => unknown}} Action
 */

const STYLE = `
.runflow-dialog { width: min(640px, 92vw); max-height: 84vh; padding: 0; overflow: hidden; border-radius: 10px;
  border: 1px solid var(--border-color, #4e4e4e); background: var(--comfy-menu-bg, #202020);
  color: var(--input-text, #ddd); font: 14px/1.5 system-ui, sans-serif; accent-color: #0b6bcb;
  box-shadow: 0 16px 48px rgb(0 0 0 / 45%); outline: none; overflow-wrap: anywhere; }
.runflow-dialog[open] { display: flex; flex-direction: column; }
.runflow-dialog::backdrop { background: rgb(0 0 0 / 55%); }
.runflow-dialog h2 { margin: 0; padding: 16px 20px 8px; font-size: 18px; font-weight: 600; }
.runflow-dialog .body { padding: 0 20px 12px; overflow: auto; }
.runflow-dialog h3 { margin: 14px 0 4px; font-size: 14px; font-weight: 600; }
.runflow-dialog p { margin: 4px 0; }
.runflow-dialog ul { margin: 0; padding-left: 20px; list-style: disc; }
.runflow-dialog .quiet { color: var(--descrip-text, #999); }
.runflow-dialog .warn { color: color-mix(in srgb, #d9a514 55%, var(--input-text, #ddd)); } /* readable on white, too */
.runflow-dialog .notice { margin: 10px 0; padding: 10px 12px; border-radius: 6px;
  border: 1px solid var(--p-yellow-500, #e5b93c); }
.runflow-dialog label { display: flex; gap: 8px; align-items: baseline; }
.runflow-dialog progress { appearance: none; display: block; width: 100%; height: 8px; margin: 6px 0; border: 0; border-radius: 4px;
  overflow: hidden; background: var(--border-color, #4e4e4e); } /* the browser's own bar is white on a dark page */
.runflow-dialog progress::-webkit-progress-bar { background: none; }
.runflow-dialog progress::-webkit-progress-value { background: #2f8be6; }
.runflow-dialog progress::-moz-progress-bar { background: #2f8be6; }
.runflow-dialog progress:indeterminate { background: linear-gradient(90deg, var(--border-color, #4e4e4e) 40%, #2f8be6 50%,
  var(--border-color, #4e4e4e) 60%) 0 0 / 200% 100%; animation: runflow-busy 1.6s linear infinite; }
.runflow-dialog progress:indeterminate::-moz-progress-bar { background: none; }
@keyframes runflow-busy { from { background-position: 200% 0; } to { background-position: 0 0; } }
.runflow-dialog footer { display: flex; flex-wrap: wrap; gap: 8px; justify-content: flex-end; padding: 12px 20px;
  border-top: 1px solid var(--border-color, #4e4e4e); }
.runflow-dialog footer:empty { display: none; }
.runflow-dialog button { padding: 6px 16px; border-radius: 6px; cursor: pointer; font: inherit;
  border: 1px solid var(--border-color, #4e4e4e); background: var(--comfy-input-bg, #333); color: inherit; }
.runflow-dialog button.main { background: #0b6bcb; border-color: #0b6bcb; color: #fff; }
.runflow-dialog button:disabled { opacity: 0.5; cursor: default; }
.runflow-dialog button:focus-visible { outline: 2px solid #6bb3ff; outline-offset: 2px; }
`

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any> | null} [properties]
 * @param {...(Node | string)} children Strings become text, never markup.
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties ?? {})
  element.append(...children)
  return element
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return ""
  const units = ["bytes", "kB", "MB", "GB", "TB"]
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`
}

/**
 * Keep keys from the editor that nobody pressed in one of these dialogs: a button that goes away takes the focus along,
 * and then Escape would close nothing and Delete would delete nodes.
 * @param {KeyboardEvent} event
 */
function keepFromEditor(event) {
  const inside = event.target instanceof Element && event.target.closest(".runflow-dialog")
  if (!inside) event.stopImmediatePropagation()
}

/**
 * Open a dialog whose content may be replaced while it is open. Escape closes it.
 * @param {string} title
 * @returns {{dialog: HTMLDialogElement, show: (body: Node[], actions: Action[]) => void}}
 */
export function openDialog(title) {
  if (!document.getElementById("runflow-dialog-style"))
    document.head.append(make("style", { id: "runflow-dialog-style", textContent: STYLE }))
  const dialog = make("dialog", { className: "runflow-dialog", tabIndex: -1 })
  const heading = make("h2", { id: `runflow-title-${Date.now()}` }, title)
  dialog.setAttribute("aria-labelledby", heading.id)
  // The browser's own controls, bars and boxes, follow the editor's colours too, not the system's.
  dialog.style.colorScheme = document.querySelector(".dark-theme") ? "dark" : "light"
  const content = make("div", { className: "body" })
  const footer = make("footer", null)
  dialog.append(heading, content, footer)
  // The editor has shortcuts for many keys, Delete and Ctrl+Enter among them.
  dialog.addEventListener("keydown", (event) => event.stopPropagation())
  // Its own dialogs, Settings among them, close when something outside of them is pressed or focused.
  for (const type of ["pointerdown", "mousedown", "click", "focusin"])
    dialog.addEventListener(type, (event) => event.stopPropagation())
  window.addEventListener("keydown", keepFromEditor, true)
  dialog.addEventListener("close", () => {
    dialog.remove()
    if (!document.querySelector("dialog.runflow-dialog")) window.removeEventListener("keydown", keepFromEditor, true)
  })
  document.body.append(dialog)
  dialog.showModal()
  /** @type {(body: Node[], actions: Action[]) => void} */
  const show = (body, actions) => {
    content.replaceChildren(...body)
    content.scrollTop = 0
    footer.replaceChildren()
    for (const { label, value, main, disabled, press } of [...actions].reverse()) {
      const button = make("button", { type: "button", disabled: disabled ?? false, value: value ?? "" }, label)
      if (main) button.className = "main"
      button.addEventListener("click", () => (press ? press() : dialog.close(value)))
      footer.append(button)
    }
    if (!dialog.contains(document.activeElement)) dialog.focus()
  }
  return { dialog, show }
}

/**
 * Show a dialog and wait for the person's choice. Escape is the same as the last button.
 * @param {string} title
 * @param {Node[]} body
 * @param {Action[]} actions
 * @param {(dialog: HTMLDialogElement) => void} [shown] Called with the open dialog.
 * @returns {Promise<string>} The value of the button.
 */
export function choose(title, body, actions, shown) {
  return new Promise((resolve) => {
    const { dialog, show } = openDialog(title)
    show(body, actions)
    dialog.addEventListener("close", () => resolve(dialog.returnValue || (actions[actions.length - 1].value ?? "")))
    shown?.(dialog)
  })
}
