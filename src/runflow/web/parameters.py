"""Query parameters that a route does not have: refused where ignoring one would change what the answer means.

`?status_code=failed` on a list, or a misspelt `from` of a statistic, would otherwise be answered with everything, and
nobody would notice. Names that begin with `_` pass: caches and proxies add such ones to a URL.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from runflow.errors import ValidationFailed

MAX_REPORTED = 20
"""At most so many unknown parameters of a request are named."""


async def only_known_parameters(request: Request) -> None:
    """Raise `ValidationFailed` naming the query parameters that the route does not have (FastAPI dependency)."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = _known(route)
    unknown = [name for name in request.query_params if name not in known and not name.startswith("_")]
    if unknown:
        problems = [
            {"loc": ["query", name], "msg": _message(name, known), "type": "unknown_parameter"}
            for name in unknown[:MAX_REPORTED]
        ]
        raise ValidationFailed(str(problems[0]["msg"]), errors=problems)


_PAGES = "For the next page send the `next` of an answer as `pq`."
_SIZE = "The number of items is `limit`."
_ORDER = "The order is `sort_by`, such as `sort_by=created_at:desc`."
_FILTER = "A filter is `q`, such as `q=FIELD:VALUE`."
_MEANT = {
    **dict.fromkeys(("page", "offset", "skip", "cursor", "after", "before", "next", "page_token"), _PAGES),
    **dict.fromkeys(("per_page", "page_size", "pagesize", "size", "count"), _SIZE),
    **dict.fromkeys(("sort", "order", "order_by", "ordering", "sort_order"), _ORDER),
    **dict.fromkeys(("filter", "search", "query", "where"), _FILTER),
}
"""What other APIs call the parameters of lists."""


OnlyKnown = Annotated[None, Depends(only_known_parameters)]
"""A parameter of a dependency whose routes refuse what they do not know."""


_parameters: WeakKeyDictionary[Callable[..., Any], tuple[str, ...]] = WeakKeyDictionary()
"""The parameters of each function that serves routes."""


def _known(route: APIRoute) -> tuple[str, ...]:
    found = _parameters.get(route.endpoint)
    if found is None:
        found = _parameters[route.endpoint] = tuple(sorted(set(_names(route.dependant))))
    return found


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _names(inner)


def _message(name: str, known: tuple[str, ...]) -> str:
    shown = name if len(name) <= 60 else name[:60] + "…"
    message = f"There is no parameter `{shown}` here; expected one of {', '.join(known)}."
    if "q" not in known:
        return message
    return f"{message} {_MEANT.get(name.lower(), f'To filter by a field, name it in q: `q={shown}:VALUE`.')}"
