"""What an answer carries: `fields` and `embed` of a record, and the envelope of a page."""

from collections.abc import Collection
from typing import Any, Protocol

from runflow.errors import InvalidField


class Projection(Protocol):
    """What `project` needs of a query."""

    @property
    def fields(self) -> tuple[str, ...] | None:
        """The names in `fields`; None means every field."""
        ...

    @property
    def embed(self) -> tuple[str, ...]:
        """The names in `embed`."""
        ...


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Split a comma list into distinct names in their order; None when the parameter is absent or blank."""
    if text is None or not text.strip():
        return None
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def check_projection(query: Projection, response_fields: Collection[str], embeds: Collection[str]) -> None:
    """Raise InvalidField, listing the allowed names, where `fields` or `embed` names something else."""
    # An embed that was asked for is always in the answer, so naming it in `fields` as well is no mistake.
    _check("fields", query.fields or (), {*response_fields, *query.embed})
    _check("embed", query.embed, embeds)


def project(item: dict[str, Any], query: Projection) -> dict[str, Any]:
    """Return the item with only the asked-for fields and embeds, in its own order; all of it without `fields`."""
    if query.fields is None:
        return item
    kept = {*query.fields, *query.embed}
    return {name: value for name, value in item.items() if name in kept}


def _check(parameter: str, names: Collection[str], allowed: Collection[str]) -> None:
    unknown = [name for name in names if name not in allowed]
    if not unknown:
        return
    expected = f"expected one of {', '.join(sorted(allowed))}" if allowed else "this resource has none"
    shown = ", ".join(f'"{name[:60]}"' for name in unknown[:5])
    message = f"Unknown name in {parameter}: {shown}; {expected}."
    raise InvalidField(message, errors=[{"loc": ["query", parameter], "msg": message, "type": "invalid_field"}])
