"""An organization that has one of everything, for the sweeps over all routes."""

from collections.abc import AsyncIterator

import pytest

from runflow.web.services import Services
from tests.support import everything as of_everything
from tests.support.everything import Everything


@pytest.fixture(scope="package")
async def everything(services: Services) -> AsyncIterator[Everything]:
    """One of everything; a test that changes it makes its own."""
    async with of_everything.make(services) as made:
        yield made
