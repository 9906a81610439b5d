"""Which slugs a workflow may have (decisions.md, "Workflows, versions, interface")."""

import re

from runflow.graph import MAX_SLUG_LENGTH, SlugError, is_slug, slugify

RESERVED = frozenset(
    {
        "categories",
        "inputs",
        "outputs",
        "versions",
        "rollbacks",
        "restorations",
        "runs",
        "batches",
        "evaluation-stats",
        "run-performance-stats",
        "evaluation-issue-categories",
        "openapi.json",
    }
)
"""Fixed words of the routes below `/v1/comfyui-workflows`; as slugs they would be unreachable."""

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def checked_slug(slug: str) -> str:
    """Return a slug that was asked for; raise `SlugError` saying why it cannot be one."""
    if not is_slug(slug):
        raise SlugError(
            f"{slug[:100]!r} is not a slug: it has 1 to {MAX_SLUG_LENGTH} characters of a-z, 0-9, _ and -, and starts "
            f"with a letter or digit{_suggestion(slug)}."
        )
    if slug in RESERVED:
        raise SlugError(f"{slug!r} is a fixed word of the API's addresses. Choose another slug, such as {slug}-1.")
    if _UUID.fullmatch(slug):
        raise SlugError("A slug cannot have the form of a UUID, because ids have it. Choose another slug.")
    return slug


def derived_slug(name: str) -> str:
    """Return the slug of a workflow that was sent without one; raise `SlugError` where its name gives none."""
    try:
        return checked_slug(slugify(name))
    except SlugError as error:
        raise SlugError(f"No slug was sent, and none can be made from the name. {error}") from None


def _suggestion(slug: str) -> str:
    try:
        return f"; for example {slugify(slug)}"
    except SlugError:
        return ""
