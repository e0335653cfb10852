"""What an API offers: the columns of a patient, the fields it can sort by, the largest page.

All of it is read from the service's OpenAPI document. What the document leaves open is taken from the service's
public description: the columns that every release has, pages of at most 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from referencing.exceptions import Unresolvable
from singer_sdk.singerlib.schema import resolve_schema_references

from tap_toubib.client import PATIENTS_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PRIMARY_KEY = "id"
CREATED_AT = "created_at"
UPDATED_AT = "updated_at"

NULL = "null"
SCALARS = {"integer", "number", "boolean", "string"}
FORMATS = {"date", "date-time"}

JSONSchema = dict[str, Any]

DEFAULT_PAGE_SIZE = 100
DEFAULT_PROPERTIES: JSONSchema = {
    "id": {"type": "integer"},
    "email": {"type": "string"},
    "first_name": {"type": "string"},
    "last_name": {"type": "string"},
    "date_of_birth": {"type": "string", "format": "date"},
    "created_at": {"type": "string", "format": "date-time"},
    "updated_at": {"type": "string", "format": "date-time"},
    "total_visits": {"type": "integer"},
}

INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}
"""Bounds that make the loader choose BIGINT for an integer."""

JSON_TEXT = {"type": ["string", "null"], "contentMediaType": "application/json"}
"""A column of objects, arrays or mixed types is kept as JSON text."""


@dataclass(frozen=True)
class Capabilities:
    """What an API offers.

    Attributes:
        schema: JSON schema of a patient, in Singer's terms: every column but the primary key can be null.
        sortable: The fields that the API can sort by.
        nullable: The columns for which the document does not promise a value.
        page_size: The largest page.
        has_single_patients: Whether it gives one patient by its id.
        is_bundled_api: Whether it is the bundled API, whose patients are made up.
    """

    schema: JSONSchema
    sortable: frozenset[str]
    nullable: frozenset[str]
    page_size: int
    has_single_patients: bool
    is_bundled_api: bool = False


def discover(document: JSONSchema) -> Capabilities:
    """Read an OpenAPI document (version 3); an empty one, or one that makes no sense, gives the defaults."""
    try:
        return _read(document)
    except (AttributeError, LookupError, TypeError, Unresolvable):
        return _read({})


def _read(document: JSONSchema) -> Capabilities:
    components = document.get("components", {})
    paths = document.get("paths", {})
    operation = paths.get(PATIENTS_PATH, {}).get("get", {})
    parameters = {
        parameter["name"]: list(_alternatives(_resolve(parameter.get("schema", {}), components)))
        for parameter in (_resolve(parameter, components) for parameter in operation.get("parameters", []))
    }
    patient = _patient(operation, components)
    properties = {name: list(_alternatives(schema)) for name, schema in patient["properties"].items()}
    required = patient.get("required", [])
    return Capabilities(
        schema={
            "type": "object",
            "properties": {name: _singer_type(name, schemas) for name, schemas in properties.items()},
            "required": [PRIMARY_KEY],
        },
        sortable=frozenset(value for schema in parameters.get("sort_field", []) for value in schema.get("enum", [])),
        nullable=frozenset(
            name for name, schemas in properties.items() if name not in required or NULL in map(_type, schemas)
        ),
        # pages that overlap have two rows at least
        page_size=next(
            (int(s["maximum"]) for s in parameters.get("limit", []) if s.get("maximum", 0) > 1), DEFAULT_PAGE_SIZE
        ),
        has_single_patients=not paths
        or any("get" in paths[path] for path in paths if path.startswith(f"{PATIENTS_PATH}/{{")),
        is_bundled_api=document.get("info", {}).get("x-bundled-api") is True,
    )


def _patient(operation: JSONSchema, components: JSONSchema) -> JSONSchema:
    """Return the schema of one patient in the answer to the list operation."""
    content = operation.get("responses", {}).get("200", {}).get("content", {})
    page = _resolve(content.get("application/json", {}).get("schema", {}), components)
    patient = page.get("properties", {}).get("data", {}).get("items", {})
    return patient if PRIMARY_KEY in patient.get("properties", {}) else {"properties": DEFAULT_PROPERTIES}


def _resolve(schema: JSONSchema, components: JSONSchema) -> JSONSchema:
    return resolve_schema_references({**schema, "components": components})


def _alternatives(schema: JSONSchema) -> Iterator[JSONSchema]:
    """Yield the plain schemas that a schema is composed of, null among them."""
    composed = [part for keyword in ("anyOf", "oneOf", "allOf") for part in schema.get(keyword, [])]
    for part in composed:
        yield from _alternatives(part)
    types = schema.get("type", [])
    for name in types if isinstance(types, list) else [types]:
        yield {**schema, "type": name}
    if not composed and not types:
        yield schema
    if schema.get("nullable"):
        yield {"type": NULL}


def _type(schema: JSONSchema) -> str | None:
    """Return the JSON type of a plain schema, which an enumeration may leave out."""
    if "enum" in schema and all(isinstance(value, str) for value in schema["enum"]):
        return "string"
    return schema.get("type")


def _singer_type(name: str, alternatives: Sequence[JSONSchema]) -> JSONSchema:
    kinds = {_type(schema) for schema in alternatives} - {NULL}
    if len(kinds) != 1 or not kinds <= SCALARS:
        return JSON_TEXT
    [kind] = kinds
    formats = {schema.get("format") for schema in alternatives if _type(schema) == kind}
    result: JSONSchema = {"type": [kind] if name == PRIMARY_KEY else [kind, NULL]}
    if kind == "integer":
        result |= INT64
    if len(formats) == 1 and formats <= FORMATS:
        result["format"] = formats.pop()
    return result
