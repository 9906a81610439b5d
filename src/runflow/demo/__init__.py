"""The demo: a real workflow, deployed and called over HTTP, on a real ComfyUI."""
