"""The agent on a machine that runs ComfyUI: it installs engines, drives them, and executes leased runs.

It speaks HTTP to the server and imports none of the server's nouns.
"""
