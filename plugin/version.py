"""Which plugin this is."""

from __future__ import annotations

VERSION = "0.1.0"
"""The plugin's version; the same as the platform's."""
