"""Which code of a deployment its person may approve with it: packs and ComfyUI, which workers may then build."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from .platform import DeployFailed, Platform

SCOPE = "sources:approve"
MOST_SOURCES = 200
"""So much code is asked for at most."""
_ADDRESS = re.compile(r"(?:https?://|ssh://git@)[A-Za-z0-9.:-]+(?:/[A-Za-z0-9._~+-]+)+")
"""Addresses that nobody reads in two ways: what another one names is left to the operator."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST = 500


def named(body: Mapping[str, Any]) -> list[dict[str, str]]:
    """The code that a deployment names by address and commit, each as `{name, origin, commit}`; not this plugin."""
    core: Mapping[str, Any] = body["environment"]["comfyui"]
    nodes: Mapping[str, Mapping[str, Any]] = body["custom_nodes"]
    packs = [(name, entry) for name, entry in nodes.items() if not entry.get("plugin")]
    found = []
    for name, entry in [("ComfyUI", core), *packs[:MOST_SOURCES]]:
        origin, commit = entry.get("origin"), entry.get("commit")
        if isinstance(origin, str) and isinstance(commit, str) and _is_plain(origin) and _COMMIT.fullmatch(commit):
            found.append({"name": name, "origin": origin, "commit": commit})
    return found


async def approvable(platform: Platform, body: Mapping[str, Any]) -> list[dict[str, str]]:
    """What of it waits for an approval that this key may give; nothing where it may not, or the server knows of none.

    What was approved already, or revoked, is left out: nobody is asked twice, and what was revoked is the operator's
    to take back. A server that cannot say so is no reason not to deploy.
    """
    asked = named(body)
    if not asked:
        return []
    try:
        key = (await platform.ask("lookup", "GET", "/v1/auth/me")).get("api_key")
        scopes = key.get("scopes") if isinstance(key, dict) else None
        if not isinstance(scopes, list) or SCOPE not in scopes:
            return []
        decided = await _decided(platform, [one["commit"] for one in asked]) if "sources:read" in scopes else set()
    except DeployFailed:
        return []
    return [one for one in asked if (undecorated(one["origin"]), one["commit"]) not in decided]


async def _decided(platform: Platform, commits: list[str]) -> set[tuple[str, str]]:
    """Origin and commit of what was approved or revoked, of these commits."""
    query = f"state_code.in:(approved, revoked) AND commit.in:({', '.join(dict.fromkeys(commits))})"
    path = f"/v1/sources?limit=500&fields=origin,commit&q={quote(query, safe='')}"
    listed = (await platform.ask("lookup", "GET", path)).get("items")
    rows = listed if isinstance(listed, list) else []
    return {(str(row.get("origin")), str(row.get("commit"))) for row in rows if isinstance(row, dict)}


def _is_plain(origin: str) -> bool:
    address = undecorated(origin)
    return len(origin) <= _LONGEST and _ADDRESS.fullmatch(address) is not None and ".." not in address


def undecorated(origin: str) -> str:
    """An address as the server tells it."""
    scheme, mark, rest = origin.strip().partition("://")
    host, slash, path = rest.partition("/")
    found = f"{scheme.lower()}{mark}{host.lower()}{slash}{path}".rstrip("/")
    while found.endswith((".git", "/")):
        found = found.rstrip("/").removesuffix(".git")
    return found
