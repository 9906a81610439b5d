/** The records that the components show, in the platform's own shape (docs/api). A description, never loaded. */

export type Value = string | number | boolean | null

export interface InputRow {
  name: string
  variable_type_code: "string" | "int" | "float" | "boolean" | "image" | "file"
  display_name: string
  description: string
  is_required: boolean
  default_value: Value
  /** What a run uses without it, where the row has no default of its own. */
  effective_default?: Value
  validator_attrs?: Limits | null
}

/** Limits of an input (docs/api/runs.md, "Limits"); absent ones are none. */
export interface Limits {
  min?: number
  max?: number
  step?: number
  choices?: (string | number)[]
  min_length?: number
  max_length?: number
}

export interface OutputFile {
  output_id: string
  url: string
  content_type: string
  size_bytes: number | null
  filename?: string
}

export interface RunRecord {
  id: string
  status_code: "queued" | "dispatching" | "running" | "succeeded" | "failed" | "cancelled"
  is_terminal: boolean
  waiting_reason: string | null
  input: Record<string, Value>
  output: { kind: string; outputs: OutputFile[] } | null
  error: { code: string; message: string; node_id: string | null; node_type: string | null; details: any } | null
  nodes_total: number | null
  nodes_completed: number | null
  created_at: string
  started_at: string | null
  completed_at: string | null
  duration_ms: number | null
  progress?: { node_id: string; node_type: string | null; title: string | null; value: number | null; max: number | null } | null
  cancelling?: boolean
  /** The address of what the sampler shows of its work; another one for each picture. */
  preview_url?: string | null
  number?: number
}

/** How a form stores a file; it returns the value to send, such as a name or a reference. `signal` calls it off. */
export type Upload = (file: File, row: InputRow, progress: (part: number) => void, signal: AbortSignal) => Promise<string>

/** One control of a form. `read` throws `FieldProblem` when the person has to change something. */
export interface Control {
  element: HTMLElement
  focusable: HTMLElement
  read(): Value
  write(value: Value): void
}

export interface FormTools {
  upload: Upload
  preview: (value: string, row: InputRow) => string | null
  changed: () => void
}
