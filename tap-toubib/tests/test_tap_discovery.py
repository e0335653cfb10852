from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tap_toubib.discovery import DEFAULT_PROPERTIES, discover
from toubib_api import CURRENT, Column, Sex, create_app

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Document = Callable[..., dict[str, Any]]

BIGINT = {"minimum": -(2**63), "maximum": 2**63 - 1}
TEXT = {"type": ["string", "null"]}
INTEGER = {"type": ["integer", "null"], **BIGINT}
INSTANT = {"type": ["string", "null"], "format": "date-time"}
JSON_TEXT = {"type": ["string", "null"], "contentMediaType": "application/json"}
WITHOUT_ID = {"content": {"application/json": {"schema": {"properties": {"data": {"items": {"type": "object"}}}}}}}


def test_document_that_fastapi_writes_is_understood_as_a_whole(tmp_path: Path) -> None:
    columns = (
        *CURRENT.columns,
        Column("sex_at_birth", Sex),
        Column("weight", float),
        Column("vip", bool, nullable=False),
    )
    api = discover(create_app(tmp_path / "none", replace(CURRENT, columns=columns)).openapi())
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
    assert api.sortable == set(CURRENT.sortable)
    assert api.nullable == {"sex_at_birth", "weight"}
    assert api.page_size == 100


@pytest.mark.parametrize(
    "column",
    [
        {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        {"oneOf": [{"type": "null"}, {"type": "integer"}]},
        {"type": ["integer", "null"]},
        {"type": "integer", "nullable": True},
        {"allOf": [{"type": "integer"}], "nullable": True},
    ],
)
def test_every_way_to_write_a_nullable_column_is_understood(document: Document, column: dict[str, Any]) -> None:
    api = discover(document(visits=column))
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
    ],
)
def test_type_of_a_column(document: Document, column: dict[str, Any], expected: dict[str, Any]) -> None:
    assert discover(document("id", column=column)).schema["properties"]["column"] == expected


def test_id_may_be_text_but_never_null(document: Document) -> None:
    schema = discover(document(id={"type": "string", "format": "uuid"})).schema
    assert schema["properties"]["id"] == {"type": ["string"]}
    assert schema["required"] == ["id"]


def test_column_that_is_not_required_is_nullable(document: Document) -> None:
    assert discover(document(nullable=("updated_at",))).nullable == {"updated_at"}


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
        {"paths": {"/v1/patients": {"get": {"parameters": [{"schema": {"$ref": "#/components/schemas/None"}}]}}}},
    ],
    ids=["empty", "no-list", "no-get", "no-answer", "no-id", "null", "array", "dangling-reference"],
)
def test_what_a_document_leaves_open_has_a_default(document: dict[str, Any]) -> None:
    api = discover(document)
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
def test_sortable_fields_are_the_values_of_sort_field(document: Document, schema: dict[str, Any]) -> None:
    described = document("id", "updated_at")
    described["paths"]["/v1/patients"]["get"]["parameters"][0]["schema"] = schema
    assert discover(described).sortable == {"id", "updated_at"}


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        ({"type": "integer", "maximum": 50}, 50),
        ({"anyOf": [{"type": "integer", "maximum": 500}, {"type": "null"}]}, 500),
        ({"type": "integer"}, 100),
        # FastAPI with Pydantic 1 writes every number with decimals, and refuses limit=50.0
        ({"type": "integer", "maximum": 50.0}, 50),
        ({"type": "integer", "maximum": 0}, 100),
        ({"type": "integer", "maximum": "many"}, 100),
    ],
)
def test_page_size_is_the_largest_that_is_documented(document: Document, limit: dict[str, Any], size: int) -> None:
    assert str(discover(document(limit=limit)).page_size) == str(size)


def test_parameter_described_elsewhere_in_the_document_is_found(document: Document) -> None:
    described = document("id")
    parameters = described["paths"]["/v1/patients"]["get"]["parameters"]
    described["components"]["parameters"] = {"sort": parameters[0]}
    parameters[0] = {"$ref": "#/components/parameters/sort"}
    assert discover(described).sortable == {"id"}
