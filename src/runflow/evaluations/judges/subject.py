"""What judges look at: a picture, and everything that is known about how it came to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from runflow.evaluations.judges.picture import Picture, PictureFault, open_picture


@dataclass(frozen=True)
class Reference:
    """A picture that the generated one is compared with. `kind` and `description` are the caller's words."""

    path: Path
    kind: str | None = None
    description: str | None = None

    @cached_property
    def picture(self) -> Picture | None:
        """The decoded picture; None when it cannot be decoded."""
        found = open_picture(self.path)
        return found if isinstance(found, Picture) else None


@dataclass(frozen=True)
class Subject:
    """One picture to judge.

    - `path`: its file, as it was fetched.
    - `task_type`: what the picture is for, e.g. `headshot`; free text of the caller.
    - `input_attributes`: what was asked for, e.g. `{"width": 1024, "height": 1024}`.
    - `references`: pictures that it was made from, or is to be compared with.
    """

    path: Path
    task_type: str = "image"
    task_description: str | None = None
    generation_prompt: str | None = None
    evaluation_instructions: str | None = None
    input_attributes: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()

    @cached_property
    def _opened(self) -> Picture | PictureFault:
        return open_picture(self.path)

    @property
    def picture(self) -> Picture | None:
        """The decoded picture; None when it cannot be decoded, which the judge of broken output reports."""
        return self._opened if isinstance(self._opened, Picture) else None

    @property
    def fault(self) -> PictureFault | None:
        """Why the picture cannot be decoded; None when it can."""
        return self._opened if isinstance(self._opened, PictureFault) else None
