"""Filter tree → SQL condition.

A filter has two truth values, not SQL's three: a comparison with a missing (null) value is false, `!=`, `nin` and NOT
are exact complements. So `category_code != 3d` and `NOT category_code = 3d` both keep the rows without a category.

A date without a time stands for its whole UTC day in `=`, `!=`, `in` and `nin`, and for the first instant of that day
in `>`, `>=`, `<` and `<=`: `created_at > 2026-01-31` includes that day, `created_at < 2026-02-01` is all of January.

Every value travels as a bind parameter; field names are looked up, never pasted.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from runflow.errors import InvalidFilter
from runflow.web.lists.spec import ListField
from runflow.web.lists.syntax import (
    LIST_OPERATORS,
    SYMBOLS,
    And,
    Node,
    Not,
    Operator,
    Or,
    Term,
    Value,
    filter_error,
    terms,
)
from runflow.web.lists.values import Day, Typed, boolean, check_operator, pattern, typed

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


MAX_BYTES = 4096
"""Longest filter, in bytes of UTF-8."""
MAX_TERMS = 64
"""Most comparisons in one filter."""
MAX_DEPTH = 16
"""Deepest nesting; each pair of parentheses and each NOT counts one."""
MAX_LIST = 200
"""Most values of one `in` or `nin`."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPE = re.compile(r"\\([\s\S])")
_ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t"}


def parse_filter(text: str) -> Node | None:
    """Read a filter; blank text means no filter (None).

    Raises InvalidFilter, which says at which character (counted from 1) and what was expected.
    """
    unstorable = _UNSTORABLE.search(text)
    if unstorable:
        raise filter_error(
            unstorable.start(), "this character (NUL or half a surrogate pair) cannot occur in any value"
        )
    size = len(text.encode())
    if size > MAX_BYTES:
        raise filter_error(
            len(text.encode()[:MAX_BYTES].decode(errors="ignore")),
            f"the filter is {size} bytes long, the limit is {MAX_BYTES}",
        )
    if not text.strip():
        return None
    try:
        # A Lark is typed by its parse tree, but with a transformer it returns what the transformer made of it.
        node = cast(_Part, _parser().parse(text)).node
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    for count, term in enumerate(terms(node), start=1):
        if count > MAX_TERMS:
            raise filter_error(term.at, f"a filter may have at most {MAX_TERMS} comparisons; this is number {count}")
    return node


class _Part(NamedTuple):
    """A subtree and how deep it nests, so that the depth limit is checked before anything walks the tree."""

    node: Node
    depth: int


class _Builder(Transformer[Token, Any]):
    """Makes the tree while the text is parsed; its methods are named after the rules of grammar.lark."""

    def any_of(self, parts: list[_Part]) -> _Part:
        return _Part(Or(tuple(part.node for part in parts)), max(part.depth for part in parts))

    def all_of(self, parts: list[_Part]) -> _Part:
        return _Part(And(tuple(part.node for part in parts)), max(part.depth for part in parts))

    def negation(self, children: list[Any]) -> _Part:
        keyword, part = children
        return _Part(Not(part.node), _deeper(part.depth, keyword))

    def group(self, children: list[Any]) -> _Part:
        bracket, part = children
        return _Part(part.node, _deeper(part.depth, bracket))

    def symbol_term(self, children: list[Any]) -> _Part:
        name, symbol, value = children
        return _Part(Term(str(name), SYMBOLS[symbol], (value,), _start(name), _start(symbol)), 0)

    def word_term(self, children: list[Any]) -> _Part:
        name, word, _, operand = children
        try:
            operator = Operator(word.lower())
        except ValueError:
            known = ", ".join(Operator)
            raise filter_error(_start(word), f"unknown operator {str(word)!r}; expected one of {known}") from None
        if operator in LIST_OPERATORS and not isinstance(operand, list):
            raise filter_error(operand.at, f"{operator} expects a list, for example {name}.{operator}:(a, b)")
        if operator not in LIST_OPERATORS and isinstance(operand, list):
            raise filter_error(
                operand[0].at, f"{operator} expects one value; for several write {name}.in:(a, b) or {name}.nin:(a, b)"
            )
        values = tuple(operand) if isinstance(operand, list) else (operand,)
        return _Part(Term(str(name), operator, values, _start(name), _start(word)), 0)

    def values(self, children: list[Any]) -> list[Value]:
        values: list[Value] = children[1:]
        if len(values) > MAX_LIST:
            raise filter_error(values[MAX_LIST].at, f"a list may have at most {MAX_LIST} values; it has {len(values)}")
        return values

    def value(self, children: list[Token]) -> Value:
        token = children[0]
        at = _start(token)
        if token.type == "BARE":
            return Value(str(token), at)
        return Value(_ESCAPE.sub(lambda match: _unescape(match, at + 1), token[1:-1]), at)


def _unescape(match: re.Match[str], at: int) -> str:
    try:
        return _ESCAPES[match[1]]
    except KeyError:
        raise filter_error(
            at + match.start(),
            f"unknown escape {match[0]!s}; expected \\\\ \\' \\\" \\n \\r or \\t (a backslash itself is written twice)",
        ) from None


def _deeper(depth: int, opened_by: Token) -> int:
    if depth >= MAX_DEPTH:
        raise filter_error(_start(opened_by), f"parentheses and NOT may nest at most {MAX_DEPTH} deep")
    return depth + 1


def _start(token: Token) -> int:
    return token.start_pos or 0


def _syntax_error(text: str, error: UnexpectedInput) -> Exception:
    if isinstance(error, UnexpectedCharacters):
        at = error.pos_in_stream or 0
    elif isinstance(error, UnexpectedToken):
        at = len(text) if error.token.type == "$END" else _start(error.token)
    else:
        raise error
    # The lexer's own list of candidates names tokens that only fit elsewhere, such as a ")" that closes nothing.
    state: InteractiveParser = error.interactive_parser
    accepted: set[str] = state.accepts()  # type: ignore[no-untyped-call]  # Lark leaves it without annotations
    return explain(text, at, accepted)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=_Builder(), maybe_placeholders=False)


Condition = sa.ColumnElement[bool]


def condition(fields: Mapping[str, ListField], node: Node) -> Condition:
    """Return the WHERE condition of a parsed filter over the fields of one list; raise InvalidFilter."""
    match node:
        case Term():
            return _term(fields, node)
        case Not():
            return _is_not_true(condition(fields, node.part))
        case And():
            return sa.and_(*(condition(fields, part) for part in node.parts))
        case Or():
            return sa.or_(*(condition(fields, part) for part in node.parts))


def _term(fields: Mapping[str, ListField], term: Term) -> Condition:
    field = fields.get(term.field)
    if field is None or not field.filterable:
        names = ", ".join(sorted(name for name, known in fields.items() if known.filterable))
        raise filter_error(term.at, f'"{term.field}" is not a field of this filter; expected one of {names}')
    check_operator(field, term)
    column, value = field.column, term.values[0]
    match term.operator:
        case Operator.EQ:
            return _equals(field, typed(field, value))
        case Operator.NE:
            return _differs(field, typed(field, value))
        case Operator.IN:
            return _is_one_of(field, term)
        case Operator.NIN:
            return _is_not_true(_is_one_of(field, term))
        case Operator.GT:
            return column > field.bind(_instant(typed(field, value)))
        case Operator.GTE:
            return column >= field.bind(_instant(typed(field, value)))
        case Operator.LT:
            return column < field.bind(_instant(typed(field, value)))
        case Operator.LTE:
            return column <= field.bind(_instant(typed(field, value)))
        case Operator.LIKE:
            return column.like(field.bind(pattern(field, value)))
        case Operator.ILIKE:
            return column.ilike(field.bind(pattern(field, value)))
        case Operator.ISNULL:
            return column.is_(None) if boolean(field, value) else column.is_not(None)


def _equals(field: ListField, value: Typed) -> Condition:
    if isinstance(value, Day):
        return sa.and_(field.column >= field.bind(value.start), field.column < field.bind(value.end))
    return field.column == field.bind(value)


def _differs(field: ListField, value: Typed) -> Condition:
    if isinstance(value, Day):
        return _is_not_true(_equals(field, value))
    if field.nullable:
        return field.column.is_distinct_from(field.bind(value))
    return field.column != field.bind(value)


def _is_one_of(field: ListField, term: Term) -> Condition:
    values = [typed(field, value) for value in term.values]
    days = [_equals(field, value) for value in values if isinstance(value, Day)]
    exact = [value for value in values if not isinstance(value, Day)]
    if exact:
        days.append(field.column == sa.any_(field.bind_list(exact)))
    return sa.or_(*days)


def _is_not_true(inner: Condition) -> Condition:
    # Below this point "unknown" and "false" mean the same, and AND and OR keep it so; only a negation tells them apart.
    return inner.is_not(sa.true())


def _instant(value: Typed) -> Typed | datetime:
    return value.start if isinstance(value, Day) else value
