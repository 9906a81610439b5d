"""What a workflow needs to run elsewhere: ComfyUI, custom nodes, packages, models, cached models, input files.

Each file reads one of them from this machine and returns what stands in the manifest (docs/plugin.md, "Deploy").
"""
