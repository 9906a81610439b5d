"""What `fields` means for the OpenAPI document: a record that it can thin out has no required property."""

from collections.abc import Iterator
from typing import Any

_PREFIX = "#/components/schemas/"


def free_projected(document: dict[str, Any]) -> None:
    """Take `required` off every schema of a record, alone or in a list, whose route takes `fields`."""
    schemas = document["components"]["schemas"]
    for name in set(_records(document)):
        schemas[name].pop("required", None)


def _records(document: dict[str, Any]) -> Iterator[str]:
    schemas = document["components"]["schemas"]
    for operations in document["paths"].values():
        for operation in operations.values():
            if not any(parameter.get("name") == "fields" for parameter in operation.get("parameters", ())):
                continue
            content = operation["responses"].get("200", {}).get("content", {})
            name = _name(content.get("application/json", {}).get("schema"))
            items = schemas[name].get("properties", {}).get("items") if name else None
            listed = _name(items.get("items")) if items else None
            if listed or name:
                yield listed or str(name)


def _name(schema: Any) -> str | None:
    reference = schema.get("$ref", "") if isinstance(schema, dict) else ""
    return reference.removeprefix(_PREFIX) if reference.startswith(_PREFIX) else None
