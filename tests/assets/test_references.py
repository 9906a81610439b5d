"""Asset references inside inputs and metadata."""

from uuid import UUID

import pytest

from runflow.assets.references import asset_id, found_in, replaced

ASSET = UUID("0197f3a0-0000-7000-8000-000000000000")
REF = f"runflow://assets/{ASSET}"


@pytest.mark.parametrize("value", [None, 3, "text", "runflow://assets/", "runflow://assets/x", f"see {REF}"])
def test_what_is_no_reference(value: object) -> None:
    assert asset_id(value) is None


def test_references_are_found_and_replaced_at_any_depth() -> None:
    value = {"a": REF, "b": [{"c": REF}, 1, None], "d": "text"}
    assert list(found_in(value)) == [(REF, ASSET), (REF, ASSET)]
    fresh = replaced(value, lambda asset: f"https://x/{asset}")
    assert fresh == {"a": f"https://x/{ASSET}", "b": [{"c": f"https://x/{ASSET}"}, 1, None], "d": "text"}
    assert value["a"] == REF
    assert replaced(value, lambda _: None) == value
