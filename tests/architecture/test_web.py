"""The web layer names no noun: what it knows of a route, the route said (docs/architecture.md)."""

import re

from runflow.accounts.keys.scopes import ALL_SCOPES
from runflow.errors import ALL_ERRORS, NotFound
from runflow.web import openapi, stored_files, system
from runflow.web.reference import routes as reference
from tests.support.source import PACKAGE, server_modules

OWN = {route.path for router in (system.router, stored_files.router, reference.router) for route in router.routes} | {
    openapi.SPEC.path
}
ADDRESS = re.compile(r"/v1/([a-z][a-z-]*)")


def test_no_file_of_the_web_layer_names_a_route_of_a_noun() -> None:
    """Docstrings, pages and scripts included: an example there is soon a rule."""
    own = {found[1] for path in OWN if (found := ADDRESS.match(path))}
    assert own == {"health", "readiness", "storage", "openapi"}
    files = [path for path in (PACKAGE / "web").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert len(files) > 20
    faults = [
        f"src/runflow/{path.relative_to(PACKAGE).as_posix()}: /v1/{noun}"
        for path in files
        for noun in ADDRESS.findall(path.read_text())
        if noun not in own
    ]
    assert faults == [], "\n".join(faults)


def test_no_module_of_the_web_layer_names_a_scope_or_what_a_noun_lacks() -> None:
    of_nouns = {error.code for error in ALL_ERRORS if issubclass(error, NotFound)} - {NotFound.code}
    faults = [
        f"src/runflow/{module.name}:{line}: {text}"
        for module in server_modules()
        if module.room == "web"
        for line, text in module.strings()
        if text in of_nouns or text in ALL_SCOPES
    ]
    assert faults == [], "\n".join(faults)
