// The page's requests to the plugin and to ComfyUI, all relative to where this page lies.

/** ComfyUI's own address: the page is at …/runflow/playground/SLUG. */
export const COMFYUI = new URL("../../", location.href)

/** The user whom the editor of this browser has chosen, where ComfyUI runs with --multi-user. */
const USER = readUser()

function readUser() {
  try {
    return localStorage.getItem("Comfy.userId")
  } catch {
    return null // the browser keeps nothing
  }
}

/** @param {string} path Below ComfyUI's address; the plugin's also name the user, for they cannot all send a header. */
export function address(path) {
  const url = new URL(path, COMFYUI)
  if (path.startsWith("runflow/") && USER) url.searchParams.set("user", USER)
  return url.href
}

/** A refusal, in the platform's envelope. */
export class Refusal extends Error {
  /** @param {{code?: string, message?: string, errors?: any}} envelope @param {number} status */
  constructor(envelope, status) {
    super(envelope.message || (status ? `ComfyUI answered ${status}.` : "ComfyUI does not answer. Is it running?"))
    this.code = envelope.code || `HTTP_${status}`
    this.errors = envelope.errors ?? null
    this.status = status
  }
}

/**
 * @param {"GET" | "POST"} method
 * @param {string} path
 * @param {object} [body]
 * @returns {Promise<any>}
 * @throws {Refusal}
 */
export async function ask(method, path, body) {
  const headers = body === undefined ? undefined : { "Content-Type": "application/json" }
  const options = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }
  const answer = await fetch(address(path), { ...options, cache: "no-store" }).catch(() => null)
  if (!answer) throw new Refusal({}, 0)
  const data = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Refusal(data, answer.status)
  return data
}

/**
 * Store a file in ComfyUI's input folder: pictures by ComfyUI's own route, the rest by the plugin's.
 * @type {import("./components/types").Upload}
 */
export function upload(file, row, progress, signal) {
  const picture = row.variable_type_code === "image"
  const form = new FormData()
  form.append(picture ? "image" : "file", file, file.name)
  const request = new XMLHttpRequest() // fetch does not tell how much was sent
  request.open("POST", address(picture ? "upload/image" : "runflow/upload-input-file"))
  request.responseType = "json"
  request.upload.addEventListener("progress", (event) => event.total && progress(event.loaded / event.total))
  return new Promise((resolve, reject) => {
    request.addEventListener("load", () => {
      const stored = request.response
      if (request.status === 200) resolve(stored.subfolder ? `${stored.subfolder}/${stored.name}` : stored.name)
      else if (request.status === 413) reject(new Error(stored?.message ?? "The file is too large for ComfyUI's upload."))
      else reject(new Refusal(stored ?? {}, request.status))
    })
    request.addEventListener("error", () => reject(new Refusal({}, 0)))
    request.addEventListener("abort", () => reject(new Error("The upload was stopped.")))
    signal.addEventListener("abort", () => request.abort())
    request.send(form)
  })
}

/** @param {string} name A file below ComfyUI's input folder. */
export function inputAddress(name) {
  const [filename, ...folders] = name.split("/").reverse()
  const query = new URLSearchParams({ filename, subfolder: folders.reverse().join("/"), type: "input" })
  return address(`view?${query}`)
}
