import json

import pytest

from runflow.graph import InputType


def test_codes_are_lower_case_texts_everywhere() -> None:
    assert [str(code) for code in InputType] == ["string", "int", "float", "boolean", "image", "file"]
    assert json.dumps(InputType.INT) == '"int"'
    assert f"{InputType.FILE}" == "file"


def test_any_case_is_read() -> None:
    assert InputType.parse("BOOLEAN") is InputType.BOOLEAN
    assert InputType.parse(InputType.IMAGE) is InputType.IMAGE


@pytest.mark.parametrize("value", ["number", "", None, 3])
def test_an_unknown_code_is_refused_with_the_list(value: object) -> None:
    with pytest.raises(ValueError, match="string, int, float, boolean, image, file"):
        InputType.parse(value)
