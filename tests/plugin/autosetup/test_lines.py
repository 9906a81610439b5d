import pytest

from plugin.autosetup.lines import readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Łoś 像.safetensors", "Łoś 像.safetensors"),
        ("a\x1b]0;owned\x07b", "a\\x1b]0;owned\\x07b"),
        ("photo\u202egpj.safetensors", "photo\\u202egpj.safetensors"),
        ("zero\u200bwidth\ud800", "zero\\u200bwidth\\ud800"),
        ("two\nlines", "two\nlines"),
        ("x" * 21, "x" * 20 + "…"),
    ],
)
def test_every_letter_of_a_stranger_shows(text: str, shown: str) -> None:
    assert readable(text, 20 if text.startswith("xx") else 300) == shown
