"""Runflow turns any ComfyUI workflow into a callable HTTP API on machines that its user owns."""

__version__ = "0.1.0"
