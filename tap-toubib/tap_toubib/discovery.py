"""What an API offers: the columns of a patient, the fields it can sort by, the largest page.

All of it is read from the service's OpenAPI document. What the document leaves open is taken from the service's
public description, and columns that it does not name from the first page of patients.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from tap_toubib.client import PATIENT_PATH, PATIENTS_PATH, ToubibClient
from tap_toubib.columns import INT64, JSON_TEXT, PRIMARY_KEY, JSONSchema, describe, get_key, is_json_text, name_columns
from tap_toubib.openapi import OpenAPIDocument
from tap_toubib.records import parse_page

DEFAULT_PAGE_SIZE = 100
DEFAULT_PORTS = {"http": 80, "https": 443}
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
    """What an API offers.

    Attributes:
        schema: JSON schema of a patient, in Singer's terms: every column but the primary key can be null.
        sortable: The fields that the API can sort by.
        nullable: The columns for which the document does not promise a value.
        page_size: The largest page.
        patients_path: Where patients are listed, below the base URL.
        patient_path: Where one patient is, with `{}` in place of its id; None if the API does not give single ones.
        is_bundled_api: Whether it is the bundled API, whose patients are made up.
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
        """Whether it gives one patient by its id."""
        return self.patient_path is not None


def discover(client: ToubibClient, catalog: Mapping[str, JSONSchema] | None = None) -> Capabilities:
    """Return what an API offers, and let its client use the paths that it documents.

    Args:
        client: The connection.
        catalog: The columns of a patient in the catalog that a run was given. Without one, columns that the document
            does not name are looked for on the first page.
    """
    api = read_document(client.get_openapi(), client.api_url)
    client.patients_path, client.patient_path = api.patients_path, api.patient_path
    documented = api.schema["properties"]
    if not api.is_understood:
        logger.warning(
            "The OpenAPI document of the API does not describe a patient: the columns are those of the service's "
            "public description, and what its first page shows"
        )
    if catalog is None:
        page = None if api.is_closed else client.get_patients({"offset": 0, "limit": api.page_size}, parse_page)
        catalog = _describe_rows([row for row in page.data if isinstance(row, dict)] if page else [], documented)
    columns = {name: column for name, column in catalog.items() if name not in documented and is_json_text(column)}
    if columns:
        logger.warning("Kept as JSON text, since the OpenAPI document does not name it: %s", _list_columns(columns))
    if not api.is_understood:
        columns |= {PRIMARY_KEY: catalog.get(PRIMARY_KEY, documented[PRIMARY_KEY])}
    columns = documented | columns
    if renamed := {name: column for name, column in columns.items() if get_key(name, column) != name}:
        logger.warning("Loaded under a name that a database can take: %s", _list_columns(renamed))
    return replace(
        api, schema={**api.schema, "properties": columns}, nullable=api.nullable | (columns.keys() - documented)
    )


def read_document(document: JSONSchema, api_url: str = "") -> Capabilities:
    """Return what an OpenAPI document (3.0 or 3.1) says; an empty one, or one that makes no sense, gives the defaults.

    Args:
        document: The document.
        api_url: The base URL that it was read from.
    """
    try:
        return _read(OpenAPIDocument(document), api_url)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return _read(OpenAPIDocument({}), api_url)


def _read(document: OpenAPIDocument, api_url: str) -> Capabilities:
    paths = document.get(document.root, "paths")
    readable = [path for path in paths if "get" in document.get(paths, path)]
    lists = [path for path in readable if path.rstrip("/").endswith(PATIENTS_PATH) and "{" not in path]
    path = min(lists, key=len, default=PATIENTS_PATH)
    single = re.compile(re.escape(path.rstrip("/")) + r"/\{[^/{}]+\}/?")
    singles = [single_path for single_path in readable if single.fullmatch(single_path)] if paths else [PATIENT_PATH]
    item = document.get(paths, path)
    operation = document.get(item, "get")
    parameters = document.get_parameters(item, operation)
    patient = document.get_items(document.get_properties(document.get_answer(operation)).get("data"))
    properties = document.get_properties(patient)
    is_understood = PRIMARY_KEY in properties
    if not is_understood:
        patient, properties = {}, DEFAULT_PROPERTIES
    names = name_columns(properties)
    types = {names[key]: document.get_types(schema) for key, schema in properties.items()}
    required = {names[key] for key in document.get_required(patient) if key in names}
    base = _find_base_path(operation.get("servers") or item.get("servers") or document.root.get("servers"), api_url)
    largest = document.get_largest(parameters.get("limit"))
    return Capabilities(
        schema={
            "type": "object",
            "properties": {
                name: describe(
                    key,
                    name,
                    _make_column(types[name], is_key=key == PRIMARY_KEY),
                    document.get_description(properties[key]),
                )
                for key, name in names.items()
            },
            "required": [PRIMARY_KEY],
        },
        sortable=frozenset(document.get_values(parameters.get("sort_field"))),
        nullable=frozenset(name for name, each in types.items() if name not in required or "null" in each),
        # pages that overlap have two rows at least
        page_size=largest if largest and largest > 1 else DEFAULT_PAGE_SIZE,
        patients_path=_cut_base(api_url, base + path),
        patient_path=_cut_base(api_url, base + re.sub(r"\{.*\}", "{}", singles[0])) if singles else None,
        is_bundled_api=document.get(document.root, "info").get("x-bundled-api") is True,
        is_understood=is_understood,
        is_closed=is_understood and document.is_closed(patient),
    )


def _make_column(types: AbstractSet[str], *, is_key: bool) -> JSONSchema:
    """Return the schema of a column whose values can have these types, in Singer's terms."""
    kinds = types - {"null"}
    null = [] if is_key else ["null"]
    if kinds == {"integer"}:
        return {"type": ["integer", *null], **INT64}
    if is_key or (kinds and kinds <= {"string", "date", "date-time"}):
        # an id of several types is told apart as text, too
        [text_format] = kinds if len(kinds) == 1 and not is_key else ["string"]
        return {"type": ["string", *null]} | ({"format": text_format} if text_format != "string" else {})
    if kinds == {"boolean"}:
        return {"type": ["boolean", *null]}
    if kinds and kinds <= {"integer", "number"}:
        return {"type": ["number", *null]}
    return JSON_TEXT


def _describe_rows(rows: Sequence[dict[str, Any]], documented: Mapping[str, JSONSchema]) -> dict[str, JSONSchema]:
    """Return the columns of rows that are not documented, and their id."""
    known = {get_key(name, column) for name, column in documented.items()}
    keys = dict.fromkeys(key for row in rows for key in row if key not in known)
    columns = {name: describe(key, name, JSON_TEXT) for key, name in name_columns(keys, documented).items()}
    has_text_id = any(isinstance(row.get(PRIMARY_KEY), str) for row in rows)
    return columns | {PRIMARY_KEY: {"type": ["string"]} if has_text_id else documented[PRIMARY_KEY]}


def _list_columns(columns: Mapping[str, JSONSchema]) -> str:
    """Return names for a message, with the key in the API where that is another one."""
    keys = {name: get_key(name, column) for name, column in columns.items()}
    return ", ".join(name if key == name else f"{key!a} as {name}" for name, key in keys.items())


def _find_base_path(servers: Any, api_url: str) -> str:
    """Return the path of the first server of a document, if it is the one that the document came from."""
    server = urlsplit(urljoin(f"{api_url}/", servers[0]["url"] if servers else "/"))
    is_here = _get_host_and_port(server) == _get_host_and_port(urlsplit(api_url)) and "{" not in server.path
    return server.path.rstrip("/") if is_here else ""


def _get_host_and_port(address: SplitResult) -> tuple[str | None, int | None]:
    try:
        return address.hostname, address.port or DEFAULT_PORTS.get(address.scheme)
    except ValueError:
        return address.hostname, None


def _cut_base(api_url: str, path: str) -> str:
    """Return a path of the host as one below the base URL, which may hold the beginning of it already."""
    base = urlsplit(api_url).path
    return path.removeprefix(base) if path.startswith(f"{base}/") else path
