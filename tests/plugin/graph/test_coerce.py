import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import InputType, ValueRefused, ValueRules, coerce_default, coerce_value

UUID_REF = "runflow://assets/018f3c1e-7b1a-7c3e-9a55-2f6d1c0b4e77"


def refused(kind: InputType, value: object, rules: ValueRules | None = None) -> ValueRefused:
    with pytest.raises(ValueRefused) as raised:
        coerce_value(kind, value, rules or ValueRules())
    return raised.value


@pytest.mark.parametrize(
    ("value", "expected"), [(5, 5), (-3, -3), ("42", 42), (" -7 ", -7), ("+1", 1), (2**64 - 1, 2**64 - 1)]
)
def test_int_takes_integers_and_integral_texts(value: object, expected: int) -> None:
    assert coerce_value(InputType.INT, value) == expected


@pytest.mark.parametrize("value", [True, False, 1.0, 1.5, "1.0", "1e3", "", "abc", "1_000", "٣", [], {}, "0x10"])
def test_int_takes_nothing_else(value: object) -> None:
    assert refused(InputType.INT, value).type == "type_error"


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "9" * 30, pytest.param(10**5000, id="huge")])
def test_int_fits_64_bits(value: object) -> None:
    assert refused(InputType.INT, value).type == "out_of_range"


def test_an_integral_float_is_refused_with_the_integer_to_send() -> None:
    assert str(refused(InputType.INT, 42.0)) == "takes an integer, but got the number 42.0. Send 42."


@pytest.mark.parametrize(("value", "expected"), [(1, 1.0), (0.5, 0.5), ("1e-3", 0.001), (" .5 ", 0.5), ("-2", -2.0)])
def test_float_takes_numbers_and_numeric_texts(value: object, expected: float) -> None:
    result = coerce_value(InputType.FLOAT, value)
    assert (result, type(result)) == (expected, float)


@pytest.mark.parametrize("value", [True, "", "abc", "nan", "inf", "1_0", "0x1p3", [], {}, "1,5", "1" * 500])
def test_float_takes_nothing_else(value: object) -> None:
    assert refused(InputType.FLOAT, value).type == "type_error"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1e999", 10**400])
def test_float_is_finite(value: object) -> None:
    assert refused(InputType.FLOAT, value).type == "out_of_range"


@pytest.mark.parametrize("value", [True, "true", "TRUE", " yes ", "on", "1", 1])
def test_true(value: object) -> None:
    assert coerce_value(InputType.BOOLEAN, value) is True


@pytest.mark.parametrize("value", [False, "false", "No", "off", "0", 0])
def test_false(value: object) -> None:
    assert coerce_value(InputType.BOOLEAN, value) is False


@pytest.mark.parametrize("value", ["", "maybe", 2, -1, 1.0, [], {}, pytest.param(10**5000, id="huge")])
def test_boolean_takes_nothing_else(value: object) -> None:
    assert refused(InputType.BOOLEAN, value).type == "type_error"


@pytest.mark.parametrize("value", [5, 1.5, True, [], {}, "a\x00b", "\ud800"])
def test_string_takes_only_texts_that_can_be_stored(value: object) -> None:
    assert refused(InputType.STRING, value).type == "type_error"


def test_the_size_of_a_text_is_counted_in_bytes() -> None:
    rules = ValueRules(max_string_bytes=6)
    assert coerce_value(InputType.STRING, "äöü", rules) == "äöü"
    assert refused(InputType.STRING, "äöüx", rules).type == "too_long"
    assert coerce_value(InputType.STRING, "x" * 1024 * 1024) == "x" * 1024 * 1024
    assert refused(InputType.STRING, "x" * (1024 * 1024 + 1)).type == "too_long"


@pytest.mark.parametrize("kind", [InputType.IMAGE, InputType.FILE])
def test_media_takes_references(kind: InputType) -> None:
    for value in (UUID_REF, "https://example.com/a.png", "data:;base64,aGk="):
        assert coerce_value(kind, value) == value
    assert refused(kind, "photo.png").type == "invalid_reference"
    assert refused(kind, 5).type == "type_error"
    assert refused(kind, {"url": "https://x"}).type == "type_error"


def test_plain_http_is_the_operators_choice() -> None:
    assert "https:// URLs only" in str(refused(InputType.IMAGE, "http://h/a.png"))
    assert coerce_value(InputType.IMAGE, "http://h/a.png", ValueRules(allow_http=True)) == "http://h/a.png"


def test_a_huge_refused_value_makes_a_short_message() -> None:
    for value in ("x" * 10**6, "data:image/png;base64," + "@" * 10**6, 10**5000):
        for kind in InputType:
            try:
                coerce_value(kind, value)
            except ValueRefused as error:
                assert len(str(error)) < 400


def test_defaults_may_be_absent_or_name_a_local_file() -> None:
    assert coerce_default(InputType.INT, None) is None
    assert coerce_default(InputType.IMAGE, "") is None
    assert coerce_default(InputType.STRING, "") == ""
    assert coerce_default(InputType.IMAGE, "sub/photo.png") == "sub/photo.png"
    assert coerce_default(InputType.FILE, UUID_REF) == UUID_REF
    for value in ("../a", "/a", "runflow://assets/1"):
        with pytest.raises(ValueRefused):
            coerce_default(InputType.FILE, value)


@given(st.integers(-(2**63), 2**64 - 1))
def test_every_64_bit_integer_survives_as_number_and_text(number: int) -> None:
    assert coerce_value(InputType.INT, number) == coerce_value(InputType.INT, str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_survives_as_number_and_text(number: float) -> None:
    assert coerce_value(InputType.FLOAT, number) == number
    assert coerce_value(InputType.FLOAT, repr(number)) == number


@given(
    st.sampled_from(list(InputType)),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists),
)
def test_any_value_is_converted_to_its_type_or_refused(kind: InputType, value: object) -> None:
    expected = {"int": int, "float": float, "boolean": bool}.get(kind.value, str)
    try:
        assert type(coerce_value(kind, value)) is expected
    except ValueRefused as error:
        assert error.type in ("type_error", "out_of_range", "too_long", "invalid_reference")
