"""Captured workflows, kept on disk by slug: they survive a restart, and their number and size are bounded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..answers import Refused, for_page
from ..graph import (
    GraphError,
    Interface,
    SlugError,
    check_prompt,
    find_warnings,
    is_slug,
    read_interface,
    scrub_graph,
    scrub_prompt,
    slugify,
)
from ..private_file import write_private

MAX_CAPTURES = 50
"""At most this many workflows are kept; the ones that were captured longest ago go first, with their runs."""

MAX_CAPTURE_BYTES = 32 * 1024 * 1024
"""Largest capture, prompt and graph together, as JSON: what the platform takes at deployment."""

_FILE = "capture.json"
_DEFAULTS = ("default_value", "effective_default")
_FOLDER_PREFIX = "workflow-"  # Windows has names such as "con" that no folder may have


@dataclass(frozen=True)
class Capture:
    """A workflow as the editor showed it: scrubbed as for a deployment, so that it runs here as it would there."""

    slug: str
    name: str
    prompt: dict[str, Any]
    graph: dict[str, Any]
    fingerprint: str
    captured_at: str
    interface: Interface

    def describe(self, *, stale: bool) -> dict[str, Any]:
        """The capture as its page sees it, with the platform's names; `stale`: the editor shows something else now."""
        interface = self.interface.to_dict()
        for row in interface["inputs"]:
            row |= {field: for_page(row[field]) for field in _DEFAULTS if field in row}
        return {
            "slug": self.slug,
            "name": self.name,
            "captured_at": self.captured_at,
            "stale": stale,
            "nodes": len(self.prompt),
            "warnings": [warning.to_dict() for warning in find_warnings(self.prompt, self.interface)],
            **interface,
        }


class Captures:
    """The captures below one folder. Its methods block: they read and write files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shown: dict[str, str] = {}

    def save(self, name: str, prompt: Any, graph: Any, fingerprint: str) -> Capture:
        """Keep a workflow under the slug of its name, in place of an older one.

        Raises:
            Refused: the name gives no slug, the workflow is none or declares an impossible interface, or is too large.
        """
        slug = slug_of(name)
        if not isinstance(prompt, Mapping) or not isinstance(graph, Mapping):
            raise Refused("The page sent no workflow. Reload it and try again.", code="WORKFLOW_INVALID")
        if not prompt:
            message = "The workflow is empty. Add the nodes that make a result and a Runflow Output node behind it."
            raise Refused(message, code="WORKFLOW_INVALID", status=422)
        try:
            scrubbed = scrub_prompt(check_prompt(prompt))
            interface = read_interface(scrubbed)
        except GraphError as error:
            raise Refused(f"The workflow cannot be tried: {error}", code="WORKFLOW_INVALID", status=422) from None
        kept: dict[str, Any] = {
            "name": name.strip(),
            "fingerprint": fingerprint,
            "captured_at": now(),
            "prompt": scrubbed,
            "graph": scrub_graph(graph),
        }
        content = json.dumps(kept, separators=(",", ":")).encode()
        if len(content) > MAX_CAPTURE_BYTES:
            limit = MAX_CAPTURE_BYTES // 1024 // 1024
            message = f"The workflow is larger than {limit} MiB. Move embedded files out of it."
            raise Refused(message, code="PAYLOAD_TOO_LARGE", status=413)
        folder = self.folder(slug)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(folder / _FILE, content)
        self._shown[slug] = fingerprint
        self._forget_oldest()
        return Capture(slug, kept["name"], scrubbed, kept["graph"], fingerprint, kept["captured_at"], interface)

    def load(self, slug: str) -> Capture:
        """The capture of a slug.

        Raises:
            Refused: there is none, or its file is damaged; says how to make one.
        """
        again = "Open the workflow in ComfyUI's editor and press Local Playground on its Runflow Deploy node."
        if not self.has(slug):
            message = f"There is no captured workflow “{slug[:100]}”. {again}"
            raise Refused(message, code="CAPTURE_NOT_FOUND", status=404)
        try:
            kept = json.loads((self.folder(slug) / _FILE).read_bytes())
            prompt = check_prompt(kept["prompt"])
            interface = read_interface(prompt)
            return Capture(
                slug, kept["name"], kept["prompt"], kept["graph"], kept["fingerprint"], kept["captured_at"], interface
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"The captured workflow “{slug}” cannot be read ({type(error).__name__}). {again}"
            raise Refused(message, code="CAPTURE_DAMAGED", status=409) from None

    def has(self, slug: str) -> bool:
        """Whether there is a capture of that slug."""
        return is_slug(slug) and (self.folder(slug) / _FILE).is_file()

    def folder(self, slug: str) -> Path:
        """Where everything about one slug is kept. `slug` must be one."""
        return self._folder / f"{_FOLDER_PREFIX}{slug}"

    def shown(self, slug: str, fingerprint: str) -> None:
        """Note what an editor shows now under that slug."""
        self._shown[slug] = fingerprint

    def is_stale(self, capture: Capture) -> bool:
        """Whether an editor has shown something else since; not known (so no) until one has spoken."""
        return self._shown.get(capture.slug, capture.fingerprint) != capture.fingerprint

    def _forget_oldest(self) -> None:
        found = sorted(self._folder.glob(f"{_FOLDER_PREFIX}*/{_FILE}"), key=lambda file: file.stat().st_mtime_ns)
        for file in found[: max(0, len(found) - MAX_CAPTURES)]:
            shutil.rmtree(file.parent, ignore_errors=True)


def slug_of(name: str) -> str:
    """The slug of an endpoint's name, by the rule of Deploy. Raises Refused."""
    try:
        return slugify(name)
    except SlugError as error:
        raise Refused(f"endpoint_name must be URL-safe. {error}", code="INVALID_NAME") from None


def now() -> str:
    """The time in the platform's form: ISO 8601, UTC, `+00:00`."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
