from time import thread_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runflow.errors import InvalidFilter
from runflow.web.lists.filter import MAX_BYTES, MAX_DEPTH, MAX_LIST, MAX_TERMS, parse_filter
from runflow.web.lists.syntax import And, Node, Not, Operator, Or, Term, Value


def _shape(node: Node | None) -> object:
    """The tree without positions, as nested tuples."""
    match node:
        case Term():
            return (node.field, node.operator.value, *(value.text for value in node.values))
        case Not():
            return ("NOT", _shape(node.part))
        case And():
            return ("AND", *map(_shape, node.parts))
        case Or():
            return ("OR", *map(_shape, node.parts))
        case None:
            return None


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("", None),
        ("  \n ", None),
        ("status_code:queued", ("status_code", "eq", "queued")),
        ("slug.eq:'my-flow'", ("slug", "eq", "my-flow")),
        ("a=1", ("a", "eq", "1")),
        ("a!=1", ("a", "ne", "1")),
        ("a>1", ("a", "gt", "1")),
        ("a>=1", ("a", "gte", "1")),
        ("a<1", ("a", "lt", "1")),
        ("a<=1", ("a", "lte", "1")),
        *((f"a.{word}:1", ("a", word, "1")) for word in Operator if word not in ("in", "nin")),
        ("a.EQ:1", ("a", "eq", "1")),
        ("a.in:(1)", ("a", "in", "1")),
        ("a.in:(1,2 , '3')", ("a", "in", "1", "2", "3")),
        ('a.nin:[x, "y, z"]', ("a", "nin", "x", "y, z")),
        ("a . eq : 1", ("a", "eq", "1")),
        (" a  =\t1 ", ("a", "eq", "1")),
        ("created_at>2026-01-01T10:00:00.5+02:00", ("created_at", "gt", "2026-01-01T10:00:00.5+02:00")),
        ("url:https://host/a?b=c&d=%20#e", ("url", "eq", "https://host/a?b=c&d=%20#e")),
        ("a:b\\c", ("a", "eq", "b\\c")),
        ("a:-5", ("a", "eq", "-5")),
        ("a:''", ("a", "eq", "")),
        (r"""a:'it\'s "x" \\ \n\r\t'""", ("a", "eq", 'it\'s "x" \\ \n\r\t')),
        (r'''a:"say \"hi\" it's"''', ("a", "eq", 'say "hi" it\'s')),
        ("a:'two\nlines'", ("a", "eq", "two\nlines")),
        ("a:日本", ("a", "eq", "日本")),
        ("a:'AND'", ("a", "eq", "AND")),
        ("a:android", ("a", "eq", "android")),
        ("a:and-roid", ("a", "eq", "and-roid")),
        ("notes:1 and and_more:2", ("AND", ("notes", "eq", "1"), ("and_more", "eq", "2"))),
        ("eq.eq:eq", ("eq", "eq", "eq")),
        ("a:1 AND b:2 AND c:3", ("AND", ("a", "eq", "1"), ("b", "eq", "2"), ("c", "eq", "3"))),
        ("a:1 OR b:2 AND c:3", ("OR", ("a", "eq", "1"), ("AND", ("b", "eq", "2"), ("c", "eq", "3")))),
        ("a:1 AND b:2 OR c:3", ("OR", ("AND", ("a", "eq", "1"), ("b", "eq", "2")), ("c", "eq", "3"))),
        ("(a:1 OR b:2) AND c:3", ("AND", ("OR", ("a", "eq", "1"), ("b", "eq", "2")), ("c", "eq", "3"))),
        ("NOT a:1 AND b:2", ("AND", ("NOT", ("a", "eq", "1")), ("b", "eq", "2"))),
        ("NOT (a:1 AND b:2)", ("NOT", ("AND", ("a", "eq", "1"), ("b", "eq", "2")))),
        ("not not a:1", ("NOT", ("NOT", ("a", "eq", "1")))),
        ("a:'1'and(b:2)Or not(c:3)", ("OR", ("AND", ("a", "eq", "1"), ("b", "eq", "2")), ("NOT", ("c", "eq", "3")))),
    ],
)
def test_reads(text: str, shape: object) -> None:
    assert _shape(parse_filter(text)) == shape


def test_positions_count_characters_from_zero() -> None:
    term = parse_filter("  slug.in:( 'ü', x)")
    assert term == Term("slug", Operator.IN, (Value("ü", 12), Value("x", 17)), at=2, operator_at=7)


_LIMIT = "(at most|the limit is)"
_AFTER_TERM = "expected AND, OR or the end of the filter"


@pytest.mark.parametrize(
    ("text", "character", "says"),
    [
        (
            "a",
            2,
            'expected an operator (: = != > >= < <=) or ".op:" with a named operator, found the end of the filter',
        ),
        ("a b:1", 3, 'expected an operator (: = != > >= < <=) or ".op:" with a named operator, found "b:1"'),
        ("a:", 3, "expected a value, found the end of the filter"),
        ("a: AND b:1", 4, 'expected a value, found "AND"; put the words and, or, not in quotes'),
        ("a:'x", 3, "this quote is never closed"),
        ("a:'x\\'", 3, "this quote is never closed"),
        ("a==1", 3, 'expected a value, found "=1"; equality is a single ":" or "="'),
        ("a:>1", 3, "put a value that begins with an operator character in quotes"),
        ("a:(1,2)", 3, "a list needs the operator in or nin"),
        ("a:1,2", 4, f'{_AFTER_TERM}, found ","; a list needs the operator in or nin'),
        ("a:1 b:2", 5, f'{_AFTER_TERM}, found "b:2"'),
        ("a:it's", 5, f'{_AFTER_TERM}, found "\'s"; put a value with spaces, brackets, commas or quotes in quotes'),
        ("t>2026-01-01T00:00:00 00:00", 23, "in a URL the + of a time zone must be sent as %2B"),
        ("a:1 AND", 8, 'expected a field name, NOT or "(", found the end of the filter'),
        ("AND a:1", 1, 'expected a field name, NOT or "(", found "AND"'),
        ("NOT", 4, 'expected a field name, NOT or "("'),
        ("()", 2, 'expected a field name, NOT or "(", found ")"'),
        ("(a:1", 5, 'expected ")"'),
        ("a:1)", 4, "this bracket closes nothing"),
        ("@x:1", 1, 'expected a field name, NOT or "(", found "@x:1"'),
        ("9a:1", 1, "expected a field name"),
        ("naïve:1", 3, "expected an operator"),
        ("a.:1", 3, "expected one of the operators eq, ne, gt"),
        ("a.is:1", 3, "unknown operator 'is'; expected one of eq, ne, gt, gte, lt, lte, in, nin, like, ilike, isnull"),
        ("a.b.eq:1", 4, 'expected ":", found ".eq:1"'),
        ("a.eq=1", 5, 'expected ":", found "=1"'),
        ("a.eq", 5, 'expected ":", found the end of the filter'),
        ("a.in:1", 6, "in expects a list, for example a.in:(a, b)"),
        ("a.eq:(1, 2)", 7, "eq expects one value; for several write a.in:(a, b)"),
        ("a.in:()", 7, 'expected a value, found ")"'),
        ("a.in:(1,)", 9, 'expected a value, found ")"'),
        ("a.in:(1 2)", 9, 'expected ")" or ",", found "2"'),
        ("a.in:[1)", 8, 'expected "]" or ",", found ")"'),
        (r"a:'100\%'", 7, r"unknown escape \%; expected"),
        ("a:x\x00", 4, "this character (NUL or half a surrogate pair) cannot occur in any value"),
        ("a:'\ud800'", 4, "this character (NUL or half a surrogate pair)"),
    ],
)
def test_says_where_and_what_was_expected(text: str, character: int, says: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text)
    assert caught.value.message.startswith(f"Invalid filter at character {character}: ")
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("fits", "exceeds", "character"),
    [
        (f"a:{'x' * (MAX_BYTES - 2)}", f"a:{'é' * (MAX_BYTES // 2)}", MAX_BYTES // 2 + 2),
        (" OR ".join(["a:1"] * MAX_TERMS), " OR ".join(["a:1"] * (MAX_TERMS + 1)), 7 * MAX_TERMS + 1),
        (f"a.in:({','.join('1' * MAX_LIST)})", f"a.in:({','.join('1' * (MAX_LIST + 1))})", 7 + 2 * MAX_LIST),
        ("(" * MAX_DEPTH + "a:1" + ")" * MAX_DEPTH, "(" * (MAX_DEPTH + 1) + "a:1" + ")" * (MAX_DEPTH + 1), 1),
        ("NOT " * MAX_DEPTH + "a:1", "b:1 OR " + "not " * (MAX_DEPTH + 1) + "a:1", 8),
        ("NOT (" * (MAX_DEPTH // 2) + "a:1" + ")" * (MAX_DEPTH // 2), "((" + "NOT(" * 8 + "a:1" + ")" * 10, 2),
    ],
    ids=["bytes", "terms", "list", "parentheses", "not", "mixed"],
)
def test_limits(fits: str, exceeds: str, character: int) -> None:
    assert parse_filter(fits) is not None
    with pytest.raises(InvalidFilter, match=f"^Invalid filter at character {character}: .*{_LIMIT}"):
        parse_filter(exceeds)


@settings(max_examples=300)
@given(st.text(max_size=60) | st.lists(st.sampled_from([*"()[],.:=<>!'\"\\ a1", "AND ", "NOT ", "in"])).map("".join))
def test_any_text_is_read_or_refused_at_a_character_of_it(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidFilter as error:
        character = int(error.message.removeprefix("Invalid filter at character ").split(":")[0])
        assert 1 <= character <= len(text) + 1


@pytest.mark.parametrize("text", ["(" * 4096, "a:'" + "\\'" * 2046, "NOT " * 1024, " " * 4095 + "a", "a:1 AND " * 512])
def test_no_text_within_the_limit_is_slow(text: str) -> None:
    """A regular expression that backtracks, or an error that copies its way through the text, would need minutes."""
    start = thread_time()
    with pytest.raises(InvalidFilter):
        parse_filter(text)
    assert thread_time() - start < 2
