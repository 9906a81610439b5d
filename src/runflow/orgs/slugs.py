"""Which slugs an organization may have: the `owner` of `{owner}/{slug}` (docs/api/organizations.md)."""

from runflow.slugs import SlugRule

OWNER = SlugRule(frozenset({"categories", "any"}))
"""Reserved: fixed words in the place of `{owner}`, and the word for every parent of a nested list."""
