/** What we use of ComfyUI's page: its server. A description for the type check, never loaded. */

export interface Api extends EventTarget {
  clientId?: string
  fetchApi(route: string, options?: RequestInit): Promise<Response>
  apiURL(route: string): string
}

export const api: Api
