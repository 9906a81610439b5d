"""Which source code may be built: node packs and ComfyUI, each by origin and commit, as the operator approves them."""
