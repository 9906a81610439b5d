"""Runtimes: an installed, isolated ComfyUI, how it is made and how it is examined.

`install` builds one, `check` says what is there, `torch_build` chooses a torch that fits the machine.
"""
