"""The value types an input or output can have."""

from __future__ import annotations

from enum import Enum


class InputType(str, Enum):  # StrEnum needs Python 3.11; ComfyUI users are on 3.10 and later
    """`variable_type_code` of an input or output row; always lower case in answers."""

    STRING = "string"
    INT = "int"
    FLOAT = "float"
    BOOLEAN = "boolean"
    IMAGE = "image"
    FILE = "file"

    def __str__(self) -> str:
        return self.value

    @property
    def is_media(self) -> bool:
        """Whether callers send a reference to a file (asset, URL, data URI) instead of the value itself."""
        return self in (InputType.IMAGE, InputType.FILE)

    @classmethod
    def parse(cls, value: object) -> InputType:
        """Read a type code in any case (`"INT"` is accepted on input).

        Raises:
            ValueError: not one of the six codes; the message lists them.
        """
        if isinstance(value, str):
            try:
                return cls(value.strip().lower())
            except ValueError:
                pass
        allowed = ", ".join(member.value for member in cls)
        raise ValueError(f"{value!r} is not a variable type. Use one of: {allowed}.")
