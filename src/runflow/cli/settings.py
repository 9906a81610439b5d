"""Settings for a command, with errors that people can read."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from runflow.cli.console import fail, say

if TYPE_CHECKING:
    from runflow.settings import Settings

PREFIX = "RUNFLOW_"
_ALIKE = 0.85
"""How alike a variable and a setting must be (difflib's ratio) for one to be the other, misspelt."""


def load_settings() -> "Settings":
    """Read the settings; a bad one ends the command with its name and what is wrong."""
    # Here, as every command imports this module, and its help needs no settings: they take a tenth of a second.
    from pydantic import ValidationError

    from runflow.settings import Settings

    for variable, setting in misspelt(os.environ):
        say(f"{variable} is no setting and has no effect. Is {setting} meant?")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # settings that do not go together: the message names them
            fail(f"{said}. Correct or unset these environment variables.")
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        fail(f"{name}: {said}. Correct or unset this environment variable.")


def misspelt(variables: Iterable[str]) -> list[tuple[str, str]]:
    """Return the names among these that are nearly, but not quite, a setting's, each with that setting's."""
    from runflow.settings import Settings

    known = [name.upper() for name in Settings.model_fields]
    names = [name.upper().removeprefix(PREFIX) for name in variables if name.upper().startswith(PREFIX)]
    return [
        (PREFIX + name, PREFIX + close)
        for name in names
        if name not in known
        for close in get_close_matches(name, known, n=1, cutoff=_ALIKE)
    ]
