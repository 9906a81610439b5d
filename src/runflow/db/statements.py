"""What SQLAlchemy Core builds, as text and parameters of the driver: it runs nothing itself."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ClauseElement

Parameters = Mapping[str, Any]
_DIALECT = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]


def compiled(clause: ClauseElement, parameters: Parameters | None = None) -> tuple[str, Parameters]:
    """Return a statement as text with psycopg's placeholders (`%(name)s`) and its values, ready for the driver.

    `parameters` are values of the statement's own named parameters.
    """
    found = clause.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    values = dict(found.construct_params(parameters) or {})
    for parameter, name in found.bind_names.items():  # type: ignore[attr-defined]
        process = parameter.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
        if process is not None and name in values:
            values[name] = process(values[name])
    return str(found), values
