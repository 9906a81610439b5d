"""Workflows: deployed endpoints with immutable versions and a typed interface."""
