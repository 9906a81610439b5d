"""Remembered headers."""

from plugin.security.remembered import Remembered


def test_headers_are_remembered_as_digests_and_forgotten() -> None:
    known = Remembered(3)
    for header in ("a", "b", "\udcff", "c"):
        known.add(header)
    assert "a" not in known
    assert all(header in known for header in ("b", "\udcff", "c"))
    assert len(known) == 3
    assert "b" in known
    known.add("d")
    assert "b" in known  # used lately
    before = known.digest("b")
    known.forget()
    assert len(known) == 0
    assert known.digest("b") != before
