"""Settings for a command, with errors that people can read."""

from pydantic import ValidationError

from runflow.cli.console import fail
from runflow.settings import Settings


def load_settings() -> Settings:
    """Read the settings; a bad one ends the command with its name and what is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        said = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # settings that do not go together: the message names them
            fail(f"{said}. Correct or unset these environment variables.")
        name = "RUNFLOW_" + "_".join(str(part) for part in first["loc"]).upper()
        fail(f"{name}: {said}. Correct or unset this environment variable.")
