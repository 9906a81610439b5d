"""A second opinion on filters: what docs/api.md, "Filters", says, in plain Python that shares no code with the server.

It has its own tree, its own rendering to text (both spellings, any quoting, needless parentheses) and its own meaning.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

_SYMBOLS = {"eq": (":", "="), "ne": ("!=",), "gt": (">",), "gte": (">=",), "lt": ("<",), "lte": ("<=",)}


@dataclass(frozen=True, slots=True)
class Compare:
    field: str
    operator: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Negate:
    part: "Tree"


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple["Tree", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple["Tree", ...]


Tree = Compare | Negate | All | AnyOf


def holds(row: Mapping[str, Any], tree: Tree) -> bool:
    match tree:
        case Negate(part):
            return not holds(row, part)
        case All(parts):
            return all(holds(row, part) for part in parts)
        case AnyOf(parts):
            return any(holds(row, part) for part in parts)
        case Compare(field, operator, values):
            return _compare(row[field], operator, values)


def _compare(have: Any, operator: str, values: tuple[Any, ...]) -> bool:
    value = values[0]
    if operator == "isnull":
        return (have is None) is value
    if have is None:
        return operator in ("ne", "nin")
    match operator:
        case "eq" | "in":
            return any(_equal(have, wanted) for wanted in values)
        case "ne" | "nin":
            return not any(_equal(have, wanted) for wanted in values)
        case "like":
            return _like(value, 0).fullmatch(have) is not None
        case "ilike":
            return _like(value, re.IGNORECASE | re.ASCII).fullmatch(have) is not None
    limit = datetime.combine(value, time.min, UTC) if _is_date(value) else _like_stored(have, value)
    result: bool = {"gt": have > limit, "gte": have >= limit, "lt": have < limit, "lte": have <= limit}[operator]
    return result


def _equal(have: Any, wanted: Any) -> bool:
    if _is_date(wanted):
        start = datetime.combine(wanted, time.min, UTC)
        return bool(start <= have < start + timedelta(days=1))
    return bool(have == _like_stored(have, wanted))


def _like_stored(have: Any, wanted: Any) -> Any:
    """A double precision column compares as a double."""
    return float(wanted) if isinstance(have, float) else wanted


def _is_date(value: Any) -> bool:
    return isinstance(value, date) and not isinstance(value, datetime)


def _like(pattern: str, flags: int) -> re.Pattern[str]:
    parts, characters = [], iter(pattern)
    for character in characters:
        if character == "\\":
            parts.append(re.escape(next(characters)))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    return re.compile("".join(parts), re.DOTALL | flags)


def render(tree: Tree, chance: Random, above: int = 0) -> str:
    """Write a tree as text; `above` is the binding strength of the surrounding operator (OR 1, AND 2, NOT 3)."""
    match tree:
        case Compare():
            own, text = 4, _comparison(tree, chance)
        case Negate(part):
            own, text = 3, f"{_case('NOT', chance)} {render(part, chance, 3)}"
        case All(parts):
            own, text = 2, f" {_case('AND', chance)} ".join(render(part, chance, 2) for part in parts)
        case AnyOf(parts):
            own, text = 1, f" {_case('OR', chance)} ".join(render(part, chance, 1) for part in parts)
    needless = chance.random() < 0.15
    return f"({text})" if own < above or needless else text


def _comparison(tree: Compare, chance: Random) -> str:
    gap = chance.choice(("", "", " "))
    if tree.operator in ("in", "nin"):
        left, right = chance.choice(("()", "[]"))
        values = f",{gap}".join(_literal(value, chance) for value in tree.values)
        return f"{tree.field}.{_case(tree.operator, chance)}:{gap}{left}{values}{right}"
    literal = _literal(tree.values[0], chance)
    if tree.operator in _SYMBOLS and chance.random() < 0.5:
        return f"{tree.field}{gap}{chance.choice(_SYMBOLS[tree.operator])}{gap}{literal}"
    return f"{tree.field}.{_case(tree.operator, chance)}:{gap}{literal}"


def _literal(value: Any, chance: Random) -> str:
    match value:
        case bool():
            text = chance.choice(("true", "TRUE", "1") if value else ("false", "False", "0"))
        case Decimal():
            text = f"{value:f}"
        case datetime():
            text = _moment(value, chance)
        case _:
            text = str(value)
    bare = re.fullmatch(r"[^\s()\[\],'\"=<>!:][^\s()\[\],'\"]*", text) and text.lower() not in ("and", "or", "not")
    if bare and chance.random() < 0.5:
        return text
    quote = chance.choice("'\"")
    escaped = text.replace("\\", "\\\\").replace(quote, "\\" + quote)
    if chance.random() < 0.5:
        escaped = escaped.replace("\n", "\\n").replace("\t", "\\t")
    return f"{quote}{escaped}{quote}"


def _moment(value: datetime, chance: Random) -> str:
    zone = chance.choice((UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))))
    text = value.astimezone(zone).isoformat(chance.choice(("T", " ")))
    if zone is UTC:
        text = text.removesuffix("+00:00") + chance.choice(("", "Z", "+00:00"))
    return text


def _case(word: str, chance: Random) -> str:
    return chance.choice((word, word.lower(), word.upper(), word.title()))
