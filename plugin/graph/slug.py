"""From an endpoint name to the slug in its address."""

from __future__ import annotations

import re

MAX_SLUG_LENGTH = 100
"""Longest slug the server accepts, in characters (docs/api/workflows.md, "Slugs")."""

# JavaScript's \s, because the editor page derives the same slug from the same name.
_WHITESPACE = re.compile(r"[\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]+")
_DROPPED = re.compile(r"[^a-z0-9_-]+")
_DASHES = re.compile(r"-{2,}")
_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


class SlugError(ValueError):
    """The name gives no usable slug; the message says why and what to change."""


def slugify(name: str) -> str:
    """Derive the slug of an endpoint name (docs/api/workflows.md, "Slugs").

    Lower case, whitespace runs become one dash, everything outside `[a-z0-9_-]` is dropped, dash runs collapse, and
    dashes and underscores are trimmed at both ends: `"Background Removal v2.1"` gives `"background-removal-v21"`.

    Raises:
        SlugError: nothing is left, or more than `MAX_SLUG_LENGTH` characters are.
    """
    if not name.strip():
        raise SlugError("The name is empty. Type one with letters or digits (a-z, 0-9), such as My Flow.")
    slug = _WHITESPACE.sub("-", name.lower())
    slug = _DASHES.sub("-", _DROPPED.sub("", slug)).strip("-_")
    if not slug:
        raise SlugError(
            f"The name {name[:100]!r} leaves an empty slug: it has no ASCII letter or digit. "
            "Give the endpoint a name with letters or digits (a-z, 0-9)."
        )
    if len(slug) > MAX_SLUG_LENGTH:
        raise SlugError(
            f"The name gives a slug of {len(slug)} characters; at most {MAX_SLUG_LENGTH} are allowed. Shorten the name."
        )
    return slug


def is_slug(value: str) -> bool:
    """Whether `value` already is a valid slug: `^[a-z0-9][a-z0-9_-]{0,99}$` (docs/api/workflows.md, "Slugs")."""
    return _SLUG.fullmatch(value) is not None
