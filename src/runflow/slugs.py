"""What organizations and workflows may be called in an address, `{owner}/{slug}` (docs/api/workflows.md, "Slugs")."""

import re

from runflow.graph import MAX_SLUG_LENGTH, SlugError, is_slug, slugify

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class SlugRule:
    """Checks and makes the slugs of one kind of thing."""

    def __init__(self, reserved: frozenset[str]) -> None:
        """`reserved` are the fixed words of the API's addresses that stand in this slug's place."""
        self.reserved = reserved

    def checked(self, slug: str) -> str:
        """Return a slug that was asked for; raise `SlugError` saying why it cannot be one."""
        if not is_slug(slug):
            raise SlugError(
                f"{slug[:100]!r} is not a slug: it has 1 to {MAX_SLUG_LENGTH} characters of a-z, 0-9, _ and -, and "
                f"starts with a letter or digit{_suggestion(slug)}."
            )
        if slug in self.reserved:
            raise SlugError(f"{slug!r} is a fixed word of the API's addresses. Choose another slug, such as {slug}-1.")
        if _UUID.fullmatch(slug):
            raise SlugError("A slug cannot have the form of a UUID, because ids have it. Choose another slug.")
        return slug

    def derived(self, name: str) -> str:
        """Return the slug of a thing that was sent without one; raise `SlugError` where its name gives none."""
        try:
            return self.checked(slugify(name))
        except SlugError as error:
            raise SlugError(f"Send a slug, because none can be made from the name. {error}") from None


def _suggestion(slug: str) -> str:
    try:
        return f"; for example {slugify(slug)}"
    except SlugError:
        return ""
