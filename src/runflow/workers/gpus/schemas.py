"""Shapes of the GPU catalogue on the wire."""

from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Text = Annotated[str, AfterValidator(lambda value: value.replace("\0", "\ufffd"))]
"""Text from custom nodes and engines: PostgreSQL stores no NUL."""
Short = Annotated[Text, Field(max_length=255)]


Price = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6, allow_inf_nan=False)]


class Gpu(BaseModel):
    """A GPU class: what workers of it cost, and how many are there."""

    code: str = Field(description="What workflows name in `gpu_explicit_models`.", examples=["L40S"])
    name: str = Field(examples=["NVIDIA L40S"])
    memory_gb: int = Field(description="0 where there is no GPU.", examples=[48])
    price_per_second: str = Field(description="USD per billable second, a decimal string.", examples=["0.000444"])
    workers_online: int = Field(description="Workers of this class that are connected now.", examples=[2])
    sort_order: int


class PatchGpu(BaseModel):
    """What to change of a GPU class; fields left out stay."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"price_per_second": "0.000444"}]})

    name: Annotated[Short, Field(min_length=1)] = Field(default="", description="What people read.")
    price_per_second: Price = Field(
        default=Decimal(0),
        description="USD per second, number or decimal string. Attempts that have ended keep the price they had.",
    )
