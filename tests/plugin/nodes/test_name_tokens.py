from datetime import datetime

import pytest

from plugin.nodes.name_tokens import fill_in

NOW = datetime(2026, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    ("prefix", "filled"),
    [
        ("audio/%date:yyyy-MM-dd%/x", "audio/2026-03-04/x"),
        ("%date:yy.M.d h:m:s%_%date:hhmmss%", "26.3.4 5:6:7_050607"),
        ("%year%%month%%day%-%hour%%minute%%second%", "20260304-050607"),
        ("100%_%width%_%date:%_%dates%", "100%_%width%_%date:%_%dates%"),
    ],
)
def test_dates_are_written_out(prefix: str, filled: str) -> None:
    assert fill_in(prefix, NOW) == filled
