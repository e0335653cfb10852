from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model
from singer_sdk.exceptions import FatalAPIError

from tap_toubib.client import ToubibClient
from tap_toubib.discovery import DEFAULT_PROPERTIES, Capabilities, complete, read_document
from tap_toubib.testing import Api, openapi, ref
from toubib_api import create_app
from toubib_api.schemas import Patient, SortField

Sex = StrEnum("Sex", ["MALE", "FEMALE"])
BIGINT = {"minimum": -(2**63), "maximum": 2**63 - 1}
TEXT = {"type": ["string", "null"]}
INTEGER = {"type": ["integer", "null"], **BIGINT}
INSTANT = {"type": ["string", "null"], "format": "date-time"}
JSON_TEXT = {"type": ["string", "null"], "contentMediaType": "application/json"}
WITHOUT_ID = {"content": {"application/json": {"schema": {"properties": {"data": {"items": {"type": "object"}}}}}}}


def test_document_that_fastapi_writes_is_understood_as_a_whole(tmp_path: Path) -> None:
    patient = create_model(
        "Patient", __base__=Patient, sex_at_birth=(Sex | None, ...), weight=(float | None, ...), vip=(bool, ...)
    )
    schema = patient.model_json_schema(ref_template="#/components/schemas/{model}")
    document = create_app(tmp_path / "none").openapi()
    document["components"]["schemas"] |= schema.pop("$defs") | {"Patient": schema}
    api = read_document(document)
    assert api.schema == {
        "type": "object",
        "properties": {
            "id": {"type": ["integer"], **BIGINT},
            "email": TEXT,
            "first_name": TEXT,
            "last_name": TEXT,
            "date_of_birth": {"type": ["string", "null"], "format": "date"},
            "sex_at_birth": TEXT,
            "created_at": INSTANT,
            "updated_at": INSTANT,
            "total_visits": INTEGER,
            "weight": {"type": ["number", "null"]},
            "vip": {"type": ["boolean", "null"]},
        },
        "required": ["id"],
    }
    assert api.sortable == set(SortField)
    assert api.nullable == {"sex_at_birth", "weight"}
    assert api.page_size == 100


@pytest.mark.parametrize(
    "column",
    [
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"type": ["integer", "null"]},
        {"type": "integer", "nullable": True},
    ],
    ids=str,
)
def test_every_way_to_write_a_nullable_column_is_understood(column: dict[str, Any]) -> None:
    api = read_document(openapi(visits=column))
    assert api.schema["properties"]["visits"] == INTEGER
    assert api.nullable == {"visits"}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ({"type": "integer"}, INTEGER),
        ({"type": "integer", "minimum": 0, "maximum": 9}, INTEGER),
        ({"type": "number"}, {"type": ["number", "null"]}),
        ({"type": "boolean"}, {"type": ["boolean", "null"]}),
        ({"type": "string", "format": "date"}, {"type": ["string", "null"], "format": "date"}),
        ({"type": "string", "format": "date-time"}, INSTANT),
        ({"type": "string", "format": "email"}, TEXT),
        ({"type": "string", "format": "uuid"}, TEXT),
        ({"enum": ["MALE", "FEMALE"]}, TEXT),
        ({"const": "MALE"}, TEXT),
        ({"$ref": "#/components/schemas/SortField"}, TEXT),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}, TEXT),
        ({"anyOf": [{"type": "string"}, {"type": "string", "format": "date-time"}]}, TEXT),
        ({"type": "object"}, JSON_TEXT),
        ({"type": "array", "items": {"type": "string"}}, JSON_TEXT),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, JSON_TEXT),
        ({"type": ["boolean", "string", "null"]}, JSON_TEXT),
        ({"enum": [1, "one"]}, JSON_TEXT),
        ({}, JSON_TEXT),
        ({"$ref": "#/components/schemas/Patient"}, JSON_TEXT),
        ({"anyOf": [{"type": "string"}, {}]}, JSON_TEXT),
        ({"anyOf": [{"$ref": "#/components/schemas/SortField"}, {"type": "null"}]}, TEXT),
        # as Pydantic 1 writes a reference that has a default or a description
        ({"allOf": [{"$ref": "#/components/schemas/SortField"}], "default": "id"}, TEXT),
        ({"$ref": "#/components/schemas/None"}, JSON_TEXT),
        ({"anyOf": [{"type": "integer"}, {"type": "number"}]}, {"type": ["number", "null"]}),
    ],
)
def test_type_of_a_column(column: Any, expected: dict[str, Any]) -> None:
    assert read_document(openapi("id", column=column)).schema["properties"]["column"] == expected


@pytest.mark.parametrize(
    ("column", "description"),
    [
        ({"type": "string", "description": "An insurer"}, "An insurer"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "description": "An insurer"}, "An insurer"),
        ({"description": "Of a patient", "allOf": [{"type": "string", "description": "An insurer"}]}, "Of a patient"),
        ({"anyOf": [{"type": "string", "description": "An insurer"}, {"type": "null"}]}, "An insurer"),
        ({"type": "string"}, None),
    ],
)
def test_description_of_a_column_is_that_of_the_document(column: dict[str, Any], description: str | None) -> None:
    described = read_document(openapi(insurer=column)).schema["properties"]["insurer"]
    assert described == TEXT | ({"description": description} if description else {})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"openapi": "3.1.0", "paths": {"/health": {"get": {}}}},
        {"paths": {"/v1/patients": {"post": {}}}},
        {"paths": {"/v1/patients": {"get": {}}}},
        {"paths": {"/v1/patients": {"get": {"responses": {"200": WITHOUT_ID}}}}},
        {"paths": None},
        {"paths": []},
    ],
    ids=["empty", "no-list", "no-get", "no-answer", "no-id", "null", "array"],
)
def test_missing_parts_of_a_document_have_defaults(document: dict[str, Any]) -> None:
    api = read_document(document)
    assert api.schema["properties"].keys() == DEFAULT_PROPERTIES.keys()
    assert api.schema["properties"]["updated_at"] == INSTANT
    assert api.nullable == DEFAULT_PROPERTIES.keys()
    assert api.sortable == set()
    assert api.page_size == 100


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/components/schemas/SortField"},
        {"anyOf": [{"$ref": "#/components/schemas/SortField"}, {"type": "null"}]},
        {"allOf": [{"$ref": "#/components/schemas/SortField"}], "default": "id"},
        {"type": "string", "enum": ["id", "updated_at"]},
    ],
    ids=["reference", "optional", "3.0", "inline"],
)
def test_sortable_fields_are_the_values_of_sort_field(schema: dict[str, Any]) -> None:
    described = openapi("id", "updated_at")
    described["paths"]["/v1/patients"]["get"]["parameters"][0]["schema"] = schema
    assert read_document(described).sortable == {"id", "updated_at"}


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ({"type": "integer", "maximum": 50}, 50),
        ({"type": "integer", "exclusiveMaximum": 71}, 70),
        ({"anyOf": [{"type": "integer", "maximum": 500}, {"type": "null"}]}, 500),
        ({"type": "integer"}, 100),
        # FastAPI with Pydantic 1 writes every number with decimals, and refuses limit=50.0
        ({"type": "integer", "maximum": 50.0}, 50),
        ({"type": "integer", "maximum": 0}, 100),
    ],
)
def test_page_size_is_the_largest_that_is_documented(limit: dict[str, Any], size: int) -> None:
    assert str(read_document(openapi(limit=limit)).page_size) == str(size)


def list_places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each object and array of a document with each of its keys."""
    if isinstance(node, dict | list):
        for key in [*node] if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from list_places(node[key])


@pytest.mark.parametrize("value", [None, True, 7, "text", "#/", [], [[]], [{}], {}, {"a": {"b": []}}], ids=str)
def test_document_with_any_value_anywhere_is_read(value: Any) -> None:
    columns: Any = {"sex": {"anyOf": [ref("SortField"), {"type": "null"}]}, "visits": {"allOf": [{"maximum": 5}]}}
    described = openapi("id", "updated_at", **columns) | {"info": {"title": "Toubib"}}
    for node, key in [*list_places(described)]:
        kept, node[key] = node[key], value
        with suppress(FatalAPIError):
            assert read_document(described).schema["properties"]["id"]
        node[key] = kept
    assert read_document(described).sortable == {"id", "updated_at"}


@pytest.mark.parametrize("key", [{"type": "string"}, {"type": "number"}, TEXT], ids=str)
def test_ids_that_are_not_integers_are_refused(key: dict[str, Any]) -> None:
    with pytest.raises(FatalAPIError, match=r"^The API documents ids of patients that are not integers[^\n]*$"):
        read_document(openapi(id=key))


@pytest.mark.parametrize("key", [{}, {"type": ["integer", "string"]}, {"type": "integer", "minimum": 1}], ids=str)
def test_id_is_an_integer_and_never_null(key: dict[str, Any]) -> None:
    schema = read_document(openapi(id=key)).schema
    assert schema["properties"]["id"] == {"type": ["integer"], **BIGINT}
    assert schema["required"] == ["id"]


def test_single_patients_have_to_be_documented() -> None:
    described = openapi("id")
    path = "/v1/patients/{patient_id}"
    described["paths"][f"{path}/visits"] = described["paths"].pop(path)
    assert not read_document(described).has_single_patients
    assert read_document({}).has_single_patients


@pytest.mark.parametrize(("said", "expected"), [(True, True), (False, False), ("true", False), (None, False)])
def test_bundled_api_says_so(tmp_path: Path, *, said: Any, expected: bool) -> None:
    assert read_document(openapi() | {"info": {"x-bundled-api": said}}).is_bundled_api is expected
    assert read_document(create_app(tmp_path / "none").openapi()).is_bundled_api


def discover(client: ToubibClient, catalog: dict[str, Any] | None = None) -> Capabilities:
    return complete(read_document(client.get_openapi()), client, catalog)


def test_columns_that_are_not_documented_are_found_on_the_first_page(
    api: Api, connect: Callable[..., ToubibClient], caplog: pytest.LogCaptureFixture
) -> None:
    api.document["components"]["schemas"]["Patient"]["additionalProperties"] = True
    api.add(1, phone="Zq7marker")
    api.add(2, **{"Phone": None, "a\"b'c": 5})
    found = discover(connect())
    further = {name: found.schema["properties"][name] for name in ("phone", "a\"b'c")}
    assert further == dict.fromkeys(further, JSON_TEXT)
    assert found.nullable == further.keys()
    assert len(api.pages) == 1
    assert "does not name it: a\"b'c, phone" in caplog.text
    assert "Zq7marker" not in caplog.text
    # the next run has a catalog and does not read the page
    again = discover(connect(), found.schema["properties"])
    assert again == found
    assert len(api.pages) == 1


def test_document_that_is_not_understood_is_reported_and_the_records_show_the_columns(
    api: Api, connect: Callable[..., ToubibClient], caplog: pytest.LogCaptureFixture
) -> None:
    api.document = {"openapi": "3.1.0", "paths": {"/v1/patients": {"get": {"responses": {"200": WITHOUT_ID}}}}}
    api.add(1, phone="5")
    found = discover(connect())
    assert found.schema["properties"].keys() == {*DEFAULT_PROPERTIES, "phone"}
    assert found.schema["properties"]["id"] == {"type": ["integer"], **BIGINT}
    assert caplog.text.count("does not describe a patient") == 1
    # the next run has a catalog
    assert discover(connect(), found.schema["properties"]) == found
