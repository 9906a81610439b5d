import re

from hypothesis import given
from hypothesis import strategies as st

from runflow.graph import path_fault
from runflow.worker.attempts.media import name_in_url, safe_name

ORDINALS = st.integers(min_value=0, max_value=999)


@given(st.text(max_size=300), ORDINALS)
def test_any_name_becomes_one_plain_file_name(wanted: str, ordinal: int) -> None:
    name = safe_name(wanted, ordinal)
    assert re.fullmatch(r"[0-9]+-[A-Za-z0-9_-]+(\.[a-z0-9]+)?", name)
    assert len(name) <= 80
    assert path_fault(name) is None


@given(st.text(max_size=50), st.text(max_size=50), ORDINALS, ORDINALS)
def test_two_ordinals_never_give_one_name(first: str, second: str, one: int, other: int) -> None:
    if one != other:
        assert safe_name(first, one) != safe_name(second, other)


def test_a_name_keeps_what_people_and_loaders_go_by() -> None:
    assert safe_name("Holiday Photo.PNG", 0) == "0-Holiday-Photo.png"
    assert safe_name("C:\\pictures\\ä b.jpeg", 3) == "3-a-b.jpeg"
    assert safe_name("../../etc/passwd", 1) == "1-passwd"
    assert safe_name(".bashrc", 2) == "2-file.bashrc"
    assert safe_name("", 4) == "4-file"
    assert safe_name("x.png [output]", 5) == "5-x.pngoutput"


def test_the_name_in_a_url_is_its_last_part_without_the_query() -> None:
    assert name_in_url("https://example.com/a/my%20photo.png?token=secret#x") == "my photo.png"
    assert name_in_url("https://example.com/..%2F..%2Fetc") == "etc"
    assert name_in_url("https://example.com") == ""
