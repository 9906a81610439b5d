// The "Choose file" button on Runflow Input (File): upload a file into ComfyUI's input folder and set file_name.
import { app } from "../../scripts/app.js"
import { widget } from "./deploy_node.js"
import { ask } from "./server.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */
/** @typedef {import("../../scripts/app.js").Widget} Widget */

const CLASS = "RunflowInputFile"
const LABEL = "📁 Choose file"
const NAME_FITS = 24

/** @param {GraphNode} node @param {Widget} button @param {File} file */
async function upload(node, button, file) {
  const form = new FormData()
  form.append("file", file)
  button.label = `Uploading ${file.name.length > NAME_FITS ? `${file.name.slice(0, NAME_FITS)}…` : file.name}…`
  node.setDirtyCanvas(true)
  try {
    // The name differs from the file's where another file has that already.
    const { name } = await ask("POST", "/runflow/upload-input-file", form)
    const field = widget(node, "file_name")
    if (!field) return
    field.value = name
    field.callback?.(name)
  } catch (error) {
    alert(`Runflow: ${file.name} was not uploaded. ${error instanceof Error ? error.message : error}`)
  } finally {
    button.label = LABEL
    node.setDirtyCanvas(true)
  }
}

/** @param {GraphNode} node */
function dress(node) {
  let busy = false
  const choose = () => {
    if (busy) return
    const picker = document.createElement("input")
    picker.type = "file"
    picker.onchange = async () => {
      const file = picker.files?.[0]
      if (!file) return
      busy = true
      await upload(node, button, file)
      busy = false
    }
    picker.click()
  }
  const button = node.addWidget("button", LABEL, null, choose, { serialize: false })
  button.serialize = false
}

const REQUIRED = 3

/**
 * Files of the plugin's first versions have no `required`, and file_name in its place: then a chosen file is what
 * callers may leave out, as the server reads it.
 * @param {any} data
 */
function withRequired(data) {
  const values = data.widgets_values
  if (!Array.isArray(values) || typeof values[REQUIRED] !== "string") return data
  const [fileName, after] = values.slice(REQUIRED)
  const required = typeof after === "boolean" ? after : !fileName.trim()
  return { ...data, widgets_values: [...values.slice(0, REQUIRED), required, fileName] }
}

app.registerExtension({
  name: "Runflow.FileInput",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== CLASS) return
    const configure = nodeType.prototype.configure
    nodeType.prototype.configure = function (/** @type {any} */ data) {
      return configure.call(this, withRequired(data))
    }
  },
  nodeCreated(node) {
    if (node.comfyClass === CLASS) dress(node)
  },
})
