"""The Local Playground: a workflow tried through its Runflow inputs and outputs, on this ComfyUI."""
