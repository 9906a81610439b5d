/** What we use of ComfyUI's page: the editor. A description for the type check, never loaded. */

export interface Widget {
  name: string
  value: any
  type: string
  label?: string
  serialize?: boolean
  hidden?: boolean
  options: Record<string, any>
  callback?: (value: any, ...rest: any[]) => unknown
  serializeValue?: (...rest: any[]) => unknown
  last_y?: number
  onRemove?: () => void
}

export interface GraphNode {
  id: number | string
  type: string
  title: string
  comfyClass?: string
  pos: [number, number]
  size: [number, number]
  widgets?: Widget[]
  widgets_values?: unknown[]
  inputs?: { name: string; link: number | null; widget?: { name: string } }[]
  widgets_start_y?: number
  properties: Record<string, unknown>
  isVirtualNode?: boolean
  graph: Graph | null
  subgraph?: Graph
  addWidget(type: string, name: string, value: unknown, callback: ((...args: any[]) => unknown) | null, options?: Record<string, unknown>): Widget
  addDOMWidget(name: string, type: string, element: HTMLElement, options?: Record<string, unknown>): Widget
  removeWidget?(widget: Widget): void
  computeSize(...given: any[]): [number, number]
  setSize(size: [number, number]): void
  setDirtyCanvas(foreground: boolean, background?: boolean): void
  onSerialize?: (data: any) => void
  onConfigure?: (data: any) => void
}

export interface Graph {
  id?: string
  nodes: GraphNode[]
  extra: Record<string, any>
  serialize(): any
  getNodeById(id: number | string): GraphNode | null
  /** A subgraph's own. */
  inputs?: { name: string }[]
  links?: any
  getLink?(id: number): { origin_id: number | string; origin_slot: number } | null | undefined
  setDirtyCanvas(foreground: boolean, background?: boolean): void
}

export interface Setting {
  id: string
  name: string
  type: string | ((name: string, setter: (value: unknown) => void, value: any, attrs?: object) => HTMLElement)
  defaultValue?: unknown
  category?: string[]
  tooltip?: string
  attrs?: Record<string, unknown>
  onChange?: (value: any, previous?: any) => void
}

export interface Extension {
  name: string
  settings?: Setting[]
  setup?: () => void | Promise<void>
  init?: () => void | Promise<void>
  beforeRegisterNodeDef?: (nodeType: any, nodeData: any, app: App) => void | Promise<void>
  nodeCreated?: (node: GraphNode) => void
  loadedGraphNode?: (node: GraphNode) => void
  beforeConfigureGraph?: (graph: any) => void
  afterConfigureGraph?: () => void
}

export interface Toast {
  severity: "success" | "info" | "warn" | "error"
  summary: string
  detail?: string
  life?: number
}

/** A tab of the editor. Its tracker holds what undo compares with and what the tab shows when it is opened again. */
export interface OpenWorkflow {
  path?: string
  filename?: string
  changeTracker?: { activeState?: { extra?: Record<string, any> }; updateModified?(): void } | null
}

export interface App {
  graph: Graph
  rootGraph?: Graph
  canvas: any
  registerExtension(extension: Extension): void
  graphToPrompt(graph?: Graph): Promise<{ output: Record<string, any>; workflow: Record<string, any> }>
  refreshComboInNodes?(): Promise<unknown>
  loadGraphData(graph: object): Promise<unknown>
  extensionManager: {
    toast: { add(toast: Toast): void }
    setting: { get(id: string): any; set(id: string, value: unknown): Promise<void> }
    command: { execute(id: string): Promise<void> }
    workflow: { activeWorkflow: OpenWorkflow | null }
  }
}

export const app: App
