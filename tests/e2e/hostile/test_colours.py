"""Two tenants in turns on one worker: each paints its own colour under the same names, and sees no other colour."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.support.hostile_installation import HostileInstallation, Tenant, contents, loot_of, nothing_got, paint_prompt
from tests.support.stock_attacks import paint_stock

RUNS, RUNS_AGAIN = 500, 50
"""In the first installation, and in the second one of a machine where both can be had."""

TURN = 25
"""Runs that a tenant sends before the other one does; the server mixes them as it likes."""

COLOURS = ((200, 30, 30), (30, 30, 200))


def submitted(tenant: Tenant, colour: tuple[int, int, int], number: int) -> dict[str, Any]:
    """Send one run: two of three by the hostile pack, one by ComfyUI's own nodes and a linked prefix."""
    if number % 3 == 0:
        return dict(tenant.api.submit(tenant.deploy("stock-paint", paint_stock(colour)), {}))
    inputs = {"name": "paint", "parameters": json.dumps({"colour": colour})}
    return dict(tenant.api.submit(tenant.deploy("paint", paint_prompt()), inputs))


def turns(hostile: HostileInstallation) -> Iterator[tuple[Tenant, tuple[int, int, int], dict[str, Any]]]:
    """Send all runs, in turns; yields each with whose it is and its colour."""
    tenants = tuple(zip((hostile.victim, hostile.attacker), COLOURS, strict=True))
    for number in range(RUNS if hostile.platform.uid is None else RUNS_AGAIN):
        tenant, colour = tenants[number // TURN % 2]
        yield tenant, colour, submitted(tenant, colour, number)


@pytest.mark.timeout(1800)
def test_no_run_of_five_hundred_sees_the_other_tenant_s_colour(hostile: HostileInstallation) -> None:
    sent = list(turns(hostile))
    for tenant, colour, run in sent:
        ended = dict(tenant.api.wait(run["id"], timeout=900))
        with Image.open(io.BytesIO(contents(ended, "picture"))) as picture:
            assert {seen for _, seen in picture.convert("RGB").getcolors() or ()} == {colour}
        if contents(ended, "loot"):
            nothing_got("paint", loot_of(ended))
