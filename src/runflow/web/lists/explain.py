"""What a bad filter's author is told: where it went wrong, what was expected, and the likely repair."""

import re
from collections.abc import Collection

from runflow.errors import InvalidFilter
from runflow.web.lists.syntax import Operator

_EXPECTED = {
    "NAME": "a field name",
    "BARE": "a value",
    "QUOTED": "a value",
    "NOT": "NOT",
    "_AND": "AND",
    "_OR": "OR",
    "LPAR": '"("',
    "_RPAR": '")"',
    "LSQB": '"["',
    "_RSQB": '"]"',
    "_COMMA": '","',
    "COLON": "an operator (: = != > >= < <=)",
    "CMP": "an operator (: = != > >= < <=)",
    "_DOT": '".op:" with a named operator',
    "$END": "the end of the filter",
}
_FOUND = re.compile(r"[^\s()\[\],]{1,40}|\S")
_OFFSET_LOST = re.compile(r"[0-9]{2}:[0-9]{2}(?::[0-9.]+)? $")
_RESERVED = re.compile(r"(?:and|or|not)\b", re.IGNORECASE)


def filter_error(at: int, message: str) -> InvalidFilter:
    """Return the error for a filter that is wrong at offset `at` (counted from 0; people count from 1)."""
    text = f"Invalid filter at character {at + 1}: {message}."
    return InvalidFilter(text, errors=[{"loc": ["query", "q"], "msg": text, "type": "invalid_filter"}])


def explain(text: str, at: int, accepted: Collection[str]) -> InvalidFilter:
    """Return the error for text that breaks off at `at`, where only the terminals `accepted` could follow."""
    names = dict(_EXPECTED)
    if "CMP" not in accepted:
        names["COLON"] = '":"'
    if len(accepted) == 1:
        # After the dot; everywhere else a name is one of several things that may follow.
        names["NAME"] = f"one of the operators {', '.join(Operator)}"
    wanted = list(dict.fromkeys(phrase for terminal, phrase in names.items() if terminal in accepted))
    expected = wanted[0] if len(wanted) == 1 else f"{', '.join(wanted[:-1])} or {wanted[-1]}"
    found = _FOUND.match(text, at)
    seen = f'found "{found[0]}"' if found else "found the end of the filter"
    hint = _hint(text, at, accepted)
    return filter_error(at, f"expected {expected}, {seen}" + (f"; {hint}" if hint else ""))


def _hint(text: str, at: int, accepted: Collection[str]) -> str | None:
    rest = text[at:]
    if "BARE" in accepted:
        if rest[:1] in ("'", '"'):
            return "this quote is never closed"
        if _RESERVED.match(rest):
            return "put the words and, or, not in quotes when they are values"
        if rest[:1] in ("(", "["):
            return "a list needs the operator in or nin, for example field.in:(a, b)"
        if rest[:1] == "=":
            return 'equality is a single ":" or "="; put a value that begins with "=" in quotes'
        if rest[:1] and rest[0] in "<>!:":
            return "put a value that begins with an operator character in quotes"
    if "$END" in accepted and rest[:1] in (")", "]"):
        return "this bracket closes nothing"
    if "_AND" in accepted:
        if _OFFSET_LOST.search(text[:at]) and re.match(r"[0-9]{2}:?[0-9]{2}", rest):
            return "in a URL the + of a time zone must be sent as %2B"
        if rest.startswith(","):
            return "a list needs the operator in or nin, for example field.in:(a, b)"
        return "put a value with spaces, brackets, commas or quotes in quotes" if rest else None
    return None
