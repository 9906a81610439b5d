// Requests from the editor's page to the plugin's routes, and the events that come back.
import { api } from "../../scripts/api.js"

/** A refusal of the plugin or of the platform, in the platform's envelope. */
export class Refusal extends Error {
  /** @param {{code?: string, message?: string, errors?: unknown}} envelope @param {number} status */
  constructor(envelope, status) {
    super(envelope.message || `ComfyUI answered ${status}.`)
    this.code = envelope.code || `HTTP_${status}`
    this.errors = envelope.errors ?? null
    this.status = status
  }
}

/**
 * Send a request and return the JSON of its answer.
 * @param {"GET" | "POST" | "PUT" | "DELETE"} method
 * @param {string} route Below ComfyUI's address, such as /runflow/info.
 * @param {object} [body] JSON, or a form.
 * @returns {Promise<any>}
 * @throws {Refusal} The plugin refused, or ComfyUI is not there.
 */
export async function ask(method, route, body) {
  /** @type {RequestInit} */
  const options = { method, cache: "no-store" }
  if (body instanceof FormData) {
    options.body = body
  } else if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" }
    options.body = JSON.stringify(body)
  }
  let answer
  try {
    answer = await api.fetchApi(route, options)
  } catch {
    throw new Refusal({ code: "COMFYUI_GONE", message: "ComfyUI does not answer. Is it still running?" }, 0)
  }
  const data = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Refusal(data, answer.status)
  return data
}

/** @returns {string | undefined} The name under which the server sends events to this page only. */
export const pageId = () => api.clientId

/**
 * Call `listener` with each event of that type that the plugin sends to this page.
 * @param {string} type
 * @param {(data: any) => void} listener
 * @returns {() => void} Ends it.
 */
export function listen(type, listener) {
  const heard = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail)
  api.addEventListener(type, heard)
  return () => api.removeEventListener(type, heard)
}
