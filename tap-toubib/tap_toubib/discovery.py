"""Discovery of an API: the columns of a patient, the sortable fields, the largest page.

The service's OpenAPI document describes them. The service's public description fills gaps in the document, and the
first page of patients shows undocumented columns.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tap_toubib import openapi
from tap_toubib.client import PATIENT_PATH, PATIENTS_PATH, ToubibClient
from tap_toubib.columns import INT64, JSON_TEXT, PRIMARY_KEY, JSONSchema, is_json_text
from tap_toubib.openapi import FORMATS, OpenAPIDocument, as_dict, as_list
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
        patients_path: Path of the list of patients, below the base URL.
        patient_path: Path of one patient, with `{}` for the id; None if the API has none.
        is_bundled_api: Whether it is the bundled API, whose patients are fictitious.
        is_understood: Whether the document describes a patient.
        is_closed: Whether the document promises that a patient has no other columns.
    """

    schema: JSONSchema
    sortable: frozenset[str]
    nullable: frozenset[str]
    page_size: int
    patients_path: str = PATIENTS_PATH
    patient_path: str | None = PATIENT_PATH
    is_bundled_api: bool = False
    is_understood: bool = False
    is_closed: bool = False

    @property
    def instants(self) -> set[str]:
        """The columns that hold instants."""
        return {name for name, column in self.schema["properties"].items() if column.get("format") == "date-time"}

    @property
    def has_single_patients(self) -> bool:
        """Whether the API returns one patient by id."""
        return self.patient_path is not None


def read_document(root: JSONSchema, api_url: str = "") -> Capabilities:
    """Return the capabilities that an OpenAPI document describes, with defaults for the others.

    Args:
        root: The document; an empty one if there is none.
        api_url: The base URL that it was read from.
    """
    document = OpenAPIDocument(root)
    paths = document.get("paths")
    readable = [path for path in paths if "get" in document.get("paths", path)]
    lists = [path for path in readable if path.rstrip("/").endswith(PATIENTS_PATH) and "{" not in path]
    path = min(lists, key=len, default=PATIENTS_PATH)
    is_single = re.compile(re.escape(path.rstrip("/")) + r"/\{[^/{}]+\}/?").fullmatch
    single = next(filter(is_single, readable), None if paths else PATIENT_PATH)
    parameters = {
        str(parameter.get("name")): document.expand(parameter.get("schema"))
        for parameter in map(as_dict, as_list(document.get("paths", path, "get").get("parameters")))
        if parameter.get("in") == "query"
    }
    answer = document.get("paths", path, "get", "responses", "200", "content", "application/json").get("schema")
    pages = document.expand(openapi.list_properties(document.expand(answer)).get("data"))
    patients = [form for page in pages for form in document.expand(page.get("items")) if form.get("properties")]
    columns = {key: document.expand(schema) for key, schema in openapi.list_properties(patients).items()}
    is_understood = PRIMARY_KEY in columns
    if not is_understood:
        patients, columns = [], {key: [schema] for key, schema in DEFAULT_PROPERTIES.items()}
    required = [key for key in columns if patients and all(key in as_list(each.get("required")) for each in patients)]
    largest = openapi.find_largest(parameters.get("limit", []))
    return Capabilities(
        schema={
            "type": "object",
            "properties": {key: _make_column(key, forms) for key, forms in columns.items()},
            "required": [PRIMARY_KEY],
        },
        sortable=frozenset(openapi.list_values(parameters.get("sort_field", []))),
        nullable=frozenset(
            key for key, forms in columns.items() if key not in required or "null" in openapi.list_types(forms)
        ),
        # overlapping pages need at least two rows
        page_size=largest if largest and largest > 1 else DEFAULT_PAGE_SIZE,
        patients_path=_cut_base(api_url, path),
        patient_path=_cut_base(api_url, re.sub(r"\{.*\}", "{}", single)) if single else None,
        is_bundled_api=document.get("info").get("x-bundled-api") is True,
        is_understood=is_understood,
        is_closed=is_understood and all(patient.get("additionalProperties") is False for patient in patients),
    )


def complete(api: Capabilities, client: ToubibClient, catalog: Mapping[str, JSONSchema] | None = None) -> Capabilities:
    """Return the capabilities with the undocumented columns, too.

    Args:
        api: The capabilities in the document.
        client: Reads the first page, if it may show such columns.
        catalog: The columns of the run's catalog, if it has one: no others are looked for.
    """
    documented = api.schema["properties"]
    if not api.is_understood:
        logger.warning(
            "The OpenAPI document of the API does not describe a patient: the columns are those of the service's "
            "public description, and what its first page shows"
        )
    if catalog is None:
        page = None if api.is_closed else client.get_patients({"offset": 0, "limit": api.page_size}, parse_page)
        catalog = _describe_rows([row for row in page.data if isinstance(row, dict)] if page else [], documented)
    others = {name: column for name, column in catalog.items() if name not in documented and is_json_text(column)}
    # to a database, names that differ only in case are equal: the one in lower case is loaded
    names = {name.lower(): name for name in sorted([*documented, *others]) if _is_loadable(name)}
    columns = {name: column for name, column in (documented | others).items() if name in names.values()}
    if added := sorted(columns.keys() - documented):
        logger.warning("Kept as JSON text, since the OpenAPI document does not name it: %s", ", ".join(added))
    if not api.is_understood:
        columns[PRIMARY_KEY] = catalog.get(PRIMARY_KEY, documented[PRIMARY_KEY])
    return replace(api, schema={**api.schema, "properties": columns}, nullable=api.nullable.union(added))


def _is_loadable(name: str) -> bool:
    """Return whether a database accepts a name and Singer does not reserve it."""
    return not name.lower().startswith("_sdc_") and name.isprintable() and name != ""


def _make_column(key: str, forms: Sequence[JSONSchema]) -> JSONSchema:
    """Return the schema of a column, in Singer's terms."""
    types = openapi.list_types(forms) - {"null"}
    column: JSONSchema = JSON_TEXT
    if types == {"integer"}:
        column = {"type": ["integer", "null"], **INT64}
    elif types and types <= {"integer", "number"}:
        column = {"type": ["number", "null"]}
    elif types == {"boolean"}:
        column = {"type": ["boolean", "null"]}
    elif types and types <= {"string", *FORMATS}:
        column = {"type": ["string", "null"]} | ({"format": min(types)} if types in ({"date"}, {"date-time"}) else {})
    if key == PRIMARY_KEY:
        column = {"type": ["integer"], **INT64} if types == {"integer"} else {"type": ["string"]}
    description = openapi.find_description(forms)
    return column | ({"description": description} if description else {})


def _describe_rows(rows: Sequence[dict[str, Any]], documented: Mapping[str, JSONSchema]) -> dict[str, JSONSchema]:
    """Return the undocumented columns of rows, and the id."""
    columns = {key: JSON_TEXT for row in rows for key in row if key not in documented}
    has_text_id = any(isinstance(row.get(PRIMARY_KEY), str) for row in rows)
    return columns | {PRIMARY_KEY: {"type": ["string"]} if has_text_id else documented[PRIMARY_KEY]}


def _cut_base(api_url: str, path: str) -> str:
    """Return a path relative to the base URL, which may already end with its beginning."""
    base = urlsplit(api_url).path
    return path.removeprefix(base) if path.startswith(f"{base}/") else path
