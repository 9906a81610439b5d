"""Each thing that can go wrong has the exit code that the guide says."""

import re

import pytest

from runflow import client
from runflow.cli import console
from runflow.cli.calling import exit_code, sentence
from tests.support.source import ROOT

RUN = {"id": "a", "status_code": "failed"}


def refusal(status: int) -> client.ApiError:
    from runflow.client.errors import api_error

    return api_error(status, {"runflow-request-id": "r-1"}, b'{"code": "X", "message": "No."}')


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client.RunFailed(RUN), 1),
        (client.DownloadFailed("x"), 1),
        *((refusal(status), 2) for status in (400, 404, 405, 409, 413, 415, 422)),
        *((refusal(status), 3) for status in (418, 429, 500, 502, 503, 504)),
        (client.RunflowUnreachable("x"), 3),
        *((refusal(status), 4) for status in (401, 402, 403)),
        (client.NotConfigured("x"), 4),
        (client.RunTimeout("a", 1), 124),
    ],
)
def test_an_error_ends_the_command_with_its_code(error: client.RunflowError, code: int) -> None:
    assert exit_code(error) == code


def test_the_guide_has_a_row_for_each_code() -> None:
    section = (ROOT / "docs" / "cli.md").read_text().partition("## Exit codes\n")[2].partition("\n## ")[0]
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert told == {
        0, console.FAILED, console.WRONG_CALL, console.NO_SERVER, console.NO_KEY, console.TOO_LATE, console.INTERRUPTED,
    }  # fmt: skip


def test_what_is_said_helps_to_go_on() -> None:
    assert sentence(refusal(401)).endswith("correct RUNFLOW_API_KEY.")
    assert sentence(refusal(500)) == "No. (X) Request id: r-1"
    assert sentence(refusal(422)) == "No. (X)"
