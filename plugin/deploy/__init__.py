"""Publishing a workflow: what would be sent, to which server, with which key, and the sending itself.

All of it runs in ComfyUI's process: the page never sees the stored key, and no Content-Security-Policy of the page can
stand in the way.
"""
