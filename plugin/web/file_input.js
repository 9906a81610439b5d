// The "Choose file" button on Runflow Input (File): upload a file into ComfyUI's input folder and set file_name.
import { app } from "../../scripts/app.js"
import { widget } from "./deploy_node.js"
import { ask } from "./server.js"

/** @typedef {import("../../scripts/app.js").GraphNode} GraphNode */
/** @typedef {import("../../scripts/app.js").Widget} Widget */

const CLASS = "RunflowInputFile"
const LABEL = "📁 Choose file"

/** @param {GraphNode} node @param {Widget} button @param {File} file */
async function upload(node, button, file) {
  const form = new FormData()
  form.append("file", file)
  button.label = `Uploading ${file.name}…`
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

app.registerExtension({
  name: "Runflow.FileInput",
  nodeCreated(node) {
    if (node.comfyClass === CLASS) dress(node)
  },
})
