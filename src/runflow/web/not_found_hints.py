"""Addresses that do not exist but are easily meant: a base URL that was put together wrongly. Pure."""

from collections.abc import Callable, Iterator

Meant = Callable[[str, str], str | None]
"""Says of a method and an address what to ask for instead; None where that cannot be told."""


def neighbours(path: str) -> Iterator[str]:
    """Yield addresses that differ from this one as a base URL that was put together wrongly differs from the right one.

    A slash at the end, two in a row, no `/v1`, two of them, or one below `/api`.
    """
    plain = "/" + "/".join(part for part in path.split("/") if part)
    yield plain
    yield f"/v1{plain}"
    for wrong in ("/v1", "/api"):
        if plain.startswith(f"{wrong}/v1/"):
            yield plain.removeprefix(wrong)
