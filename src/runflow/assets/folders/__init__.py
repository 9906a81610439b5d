"""Folders of assets: a tree per organization."""
