"""Filter text → tree. Every limit on what a caller may send, and every syntax error, is decided here."""

import re
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken
from lark.parsers.lalr_interactive_parser import InteractiveParser

from runflow.web.lists.explain import explain, filter_error
from runflow.web.lists.syntax import LIST_OPERATORS, SYMBOLS, And, Node, Not, Operator, Or, Term, Value, terms

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
