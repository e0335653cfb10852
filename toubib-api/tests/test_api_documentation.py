from collections.abc import Callable
from datetime import datetime
from typing import Any

from toubib_api import CURRENT, SEX_AT_BIRTH, Column, Release

Call = Callable[..., tuple[int, Any]]

IDENTITY = {
    "id": {"type": "integer", "title": "Id"},
    "email": {"type": "string", "title": "Email"},
    "first_name": {"type": "string", "title": "First Name"},
    "last_name": {"type": "string", "title": "Last Name"},
    "date_of_birth": {"type": "string", "format": "date", "title": "Date Of Birth"},
}


def document(call: Call) -> tuple[dict[str, Any], dict[str, Any]]:
    status, document = call("GET", "/openapi.json")
    assert status == 200
    listing = document["paths"]["/v1/patients"]["get"]
    parameters = {parameter["name"]: parameter["schema"] for parameter in listing["parameters"]}
    return document["components"]["schemas"], parameters


def test_columns(serve: Callable[..., Call]) -> None:
    schemas, _ = document(serve())
    assert schemas["Patient"]["properties"] == IDENTITY | {
        "created_at": {"type": "string", "format": "date-time", "title": "Created At"},
        "updated_at": {"type": "string", "format": "date-time", "title": "Updated At"},
        "total_visits": {"type": "integer", "title": "Total Visits"},
    }
    assert schemas["Patient"]["required"] == ["id", *(column.name for column in CURRENT.columns)]
    assert schemas["Page_Patient_"]["properties"]["data"]["items"] == {"$ref": "#/components/schemas/Patient"}


def test_list_parameters(serve: Callable[..., Call]) -> None:
    schemas, parameters = document(serve())
    assert parameters["limit"] | {"title": ""} == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 10,
        "title": "",
    }
    assert parameters["offset"]["minimum"] == 0
    assert parameters["sort_field"] == {"$ref": "#/components/schemas/SortField", "default": "last_name"}
    assert parameters["sort_dir"]["enum"] == ["asc", "desc"]
    assert schemas["SortField"]["enum"] == list(CURRENT.sortable)


def test_what_can_be_written(serve: Callable[..., Call]) -> None:
    schemas, _ = document(serve())
    writable = ["email", "first_name", "last_name", "date_of_birth", "total_visits"]
    assert list(schemas["PatientCreation"]["properties"]) == writable
    assert schemas["PatientCreation"]["required"] == writable[:-1]
    assert list(schemas["PatientUpdate"]["properties"]) == writable
    assert "required" not in schemas["PatientUpdate"]
    assert schemas["PatientUpdate"]["properties"]["email"] == {"type": "string", "title": "Email"}


def test_a_release_with_other_columns(serve: Callable[..., Call]) -> None:
    schemas, _ = document(serve(SEX_AT_BIRTH))
    assert schemas["Patient"]["properties"] == IDENTITY | {
        "sex_at_birth": {"anyOf": [{"$ref": "#/components/schemas/Sex"}, {"type": "null"}]}
    }
    assert schemas["Sex"]["enum"] == ["MALE", "FEMALE"]
    assert schemas["SortField"]["enum"] == ["id", "email", "first_name", "last_name", "date_of_birth"]


def test_a_release_of_ones_own(serve: Callable[..., Call]) -> None:
    columns = (*CURRENT.columns, Column("insurance_number", str), Column("score", float), Column("consented", bool))
    schemas, parameters = document(serve(Release(columns, sortable=("updated_at", "score"))))
    properties = schemas["Patient"]["properties"]
    assert properties["insurance_number"]["anyOf"] == [{"type": "string"}, {"type": "null"}]
    assert properties["score"]["anyOf"] == [{"type": "number"}, {"type": "null"}]
    assert properties["consented"]["anyOf"] == [{"type": "boolean"}, {"type": "null"}]
    assert schemas["SortField"]["enum"] == ["updated_at", "score"]
    assert parameters["sort_field"]["default"] == "updated_at"


def test_timestamps_that_may_be_null_are_still_the_services_own(serve: Callable[..., Call]) -> None:
    columns = (*SEX_AT_BIRTH.columns, Column("updated_at", datetime))
    schemas, _ = document(serve(Release(columns, sortable=("id", "updated_at"))))
    assert schemas["Patient"]["properties"]["updated_at"]["anyOf"] == [
        {"type": "string", "format": "date-time"},
        {"type": "null"},
    ]
    assert "updated_at" not in schemas["PatientCreation"]["properties"]
    assert "updated_at" not in schemas["PatientUpdate"]["properties"]


def test_document_says_that_its_patients_are_made_up(serve: Callable[..., Call]) -> None:
    assert serve()("GET", "/openapi.json")[1]["info"]["x-bundled-api"] is True
