from collections.abc import Callable
from typing import Any

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
    assert schemas["Patient"]["required"] == list(schemas["Patient"]["properties"])
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
    assert schemas["SortDirection"]["enum"] == ["asc", "desc"]
    assert schemas["SortField"]["enum"] == [*IDENTITY, "created_at", "updated_at"]


def test_what_can_be_written(serve: Callable[..., Call]) -> None:
    schemas, _ = document(serve())
    writable = ["email", "first_name", "last_name", "date_of_birth", "total_visits"]
    assert list(schemas["PatientCreation"]["properties"]) == writable
    assert schemas["PatientCreation"]["required"] == writable[:-1]
    assert list(schemas["PatientUpdate"]["properties"]) == writable
    assert "required" not in schemas["PatientUpdate"]
    assert schemas["PatientUpdate"]["properties"]["email"] == {"type": "string", "title": "Email"}


def test_document_says_that_its_patients_are_made_up(serve: Callable[..., Call]) -> None:
    assert serve()("GET", "/openapi.json")[1]["info"]["x-bundled-api"] is True
