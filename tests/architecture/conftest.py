"""The parsed source is kept for this folder's tests only: hundreds of MB that all later tests would carry along."""

from collections.abc import Iterator

import pytest

from tests.support.source import modules_of_tests, plugin_modules, server_modules


@pytest.fixture(scope="module", autouse=True)
def forget_the_source() -> Iterator[None]:
    """Forget what was parsed when a file's tests are over."""
    yield
    for modules in (modules_of_tests, plugin_modules, server_modules):
        modules.cache_clear()
