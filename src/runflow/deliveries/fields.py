"""Fields of request bodies that callbacks and webhooks share."""

from typing import Annotated

from pydantic import AfterValidator, Field

from runflow.deliveries.signing import checked_secret
from runflow.outgoing import InvalidUrl, check_url

MAX_URL = 2048


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _target(url: str) -> str:
    try:
        check_url(_storable(url))
    except InvalidUrl as error:
        raise ValueError(str(error)) from error
    return url


Label = Annotated[str, Field(max_length=255, examples=["production"]), AfterValidator(_storable)]
"""What people call something."""

SecretText = Annotated[str, Field(max_length=255, examples=["whsec_…"]), AfterValidator(checked_secret)]
"""A signing secret that a caller supplies."""

TargetUrl = Annotated[
    str, Field(min_length=1, max_length=MAX_URL, examples=["https://your-server.example/hook"]), AfterValidator(_target)
]
"""Where messages go. Whether the address may be reached is decided at each attempt."""
