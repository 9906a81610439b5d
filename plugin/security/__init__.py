"""Settings > Runflow: password authentication over everything that ComfyUI serves, and the port exposure scan."""
