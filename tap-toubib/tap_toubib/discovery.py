"""Discovery of an API: the columns of a patient, the sortable fields, the largest page.

The service's OpenAPI document describes them. The service's public description fills gaps in the document. Where the
document does not name all columns of a patient, the first page of patients shows the others.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from singer_sdk.exceptions import FatalAPIError

from tap_toubib.client import PATIENTS_PATH, ToubibClient
from tap_toubib.columns import INT64, JSON_TEXT, PRIMARY_KEY, JSONSchema, is_json_text
from tap_toubib.openapi import FORMATS, OpenAPIDocument, Parameter, Schema, find_largest
from tap_toubib.records import parse_page

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

logger = logging.getLogger("tap-toubib.discovery")


@dataclass(frozen=True)
class Capabilities:
    """Capabilities of an API.

    Attributes:
        schema: JSON schema of a patient, in Singer's terms: every column but the primary key can be null.
        sortable: The fields that the API can sort by.
        nullable: The columns for which the document does not promise a value.
        page_size: The largest page.
        has_single_patients: Whether it returns one patient by id.
        is_bundled_api: Whether it is the bundled API, whose patients are fictitious.
        is_complete: Whether the document names all columns of a patient.
    """

    schema: JSONSchema
    sortable: frozenset[str]
    nullable: frozenset[str]
    page_size: int
    has_single_patients: bool = True
    is_bundled_api: bool = False
    is_complete: bool = False

    @property
    def instants(self) -> set[str]:
        """The columns that hold instants."""
        return {name for name, column in self.schema["properties"].items() if column.get("format") == "date-time"}


def read_document(root: JSONSchema) -> Capabilities:
    """Return the capabilities that an OpenAPI document describes, with defaults for the others.

    Args:
        root: The document; an empty one if there is none.

    Raises:
        FatalAPIError: The ids of patients are not integers.
    """
    try:
        return _read(OpenAPIDocument(root))
    except msgspec.ValidationError:
        return _read(OpenAPIDocument({}))


def _read(document: OpenAPIDocument) -> Capabilities:
    operation = ("paths", PATIENTS_PATH, "get")
    parameters = msgspec.convert(document.get(*operation, "parameters") or [], list[Parameter])
    schemas = {each.name: each.schema for each in parameters}
    answer = document.get(*operation, "responses", "200", "content", "application/json", "schema")
    patients = document.resolve(document.resolve(answer).properties.get("data")).items
    patient = document.resolve(patients)
    if PRIMARY_KEY not in patient.properties:
        logger.warning(
            "The OpenAPI document of the API does not describe a patient: the columns are those of the service's "
            "public description, and what its first page shows"
        )
        patient = Schema(properties=DEFAULT_PROPERTIES, additional_properties=True)
    columns = {key: document.expand(schema) for key, schema in patient.properties.items()}
    if (types := _list_types(columns[PRIMARY_KEY])) and "integer" not in types:
        raise FatalAPIError("The API documents ids of patients that are not integers: this tap cannot read it")
    paths = msgspec.convert(document.get("paths") or {}, dict[str, Any])
    single_patients = re.compile(rf"{PATIENTS_PATH}/{{[^/]+}}")
    largest = find_largest(document.expand(schemas.get("limit")))
    return Capabilities(
        schema={
            "type": "object",
            "properties": {key: _make_column(forms) for key, forms in columns.items()}
            | {PRIMARY_KEY: {"type": ["integer"], **INT64}},
            "required": [PRIMARY_KEY],
        },
        sortable=frozenset(
            each for form in document.expand(schemas.get("sort_field")) for each in form.values if isinstance(each, str)
        ),
        nullable=frozenset(
            key for key, forms in columns.items() if key not in patient.required or "null" in _list_types(forms)
        ),
        # overlapping pages need at least two rows
        page_size=largest if largest and largest > 1 else DEFAULT_PAGE_SIZE,
        has_single_patients=not paths or any(map(single_patients.fullmatch, paths)),
        is_bundled_api=document.get("info", "x-bundled-api") is True,
        is_complete=not patient.additional_properties,
    )


def complete(api: Capabilities, client: ToubibClient, catalog: Mapping[str, JSONSchema] | None = None) -> Capabilities:
    """Return the capabilities with the undocumented columns, too.

    Args:
        api: The capabilities in the document.
        client: Reads the first page, if it may show such columns.
        catalog: The columns of the run's catalog, if it has one: no others are looked for.
    """
    documented = api.schema["properties"]
    others: set[str] = set()
    if catalog is not None:
        others = {name for name, column in catalog.items() if is_json_text(column)}
    elif not api.is_complete:
        page = client.get_patients({"offset": 0, "limit": api.page_size}, parse_page)
        others = {key for row in page.data if isinstance(row, dict) for key in row}
    names = others.union(documented)
    # to a database, names that differ only in case are equal: the one in lower case is loaded
    loaded = {*{name.lower(): name for name in sorted(names) if _is_loadable(name)}.values()}
    if names - loaded:
        logger.warning("Not loaded, since a database could not name it: %s", ", ".join(sorted(names - loaded)))
    added = sorted(loaded.difference(documented))
    if added:
        logger.warning("Kept as JSON text, since the OpenAPI document does not name it: %s", ", ".join(added))
    columns = {name: column for name, column in documented.items() if name in loaded} | dict.fromkeys(added, JSON_TEXT)
    return replace(api, schema={**api.schema, "properties": columns}, nullable=api.nullable.union(added))


def _is_loadable(name: str) -> bool:
    """Return whether a database accepts a name, and neither Singer nor DuckDB reserves it."""
    return not name.lower().startswith("_sdc_") and name.isprintable() and name.lower() not in {"", "rowid"}


def _list_types(forms: Sequence[Schema]) -> set[str]:
    """Return the types that a value can have; an empty set if it can have any."""
    return set() if any(not form.types for form in forms) else {each for form in forms for each in form.types}


def _make_column(forms: Sequence[Schema]) -> JSONSchema:
    """Return the schema of a column, in Singer's terms."""
    types = _list_types(forms) - {"null"}
    column: JSONSchema = JSON_TEXT
    if types == {"integer"}:
        column = {"type": ["integer", "null"], **INT64}
    elif types and types <= {"integer", "number"}:
        column = {"type": ["number", "null"]}
    elif types == {"boolean"}:
        column = {"type": ["boolean", "null"]}
    elif types and types <= {"string", *FORMATS}:
        column = {"type": ["string", "null"]} | ({"format": min(types)} if types in ({"date"}, {"date-time"}) else {})
    description = next((form.description for form in forms if form.description), None)
    return column | ({"description": description} if description else {})
