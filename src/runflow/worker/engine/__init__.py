"""Engines: how the worker drives a ComfyUI, one that it started itself (owned) or someone else's (attached)."""
