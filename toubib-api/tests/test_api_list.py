import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from toubib_api.schemas import Patient, SortField

Call = Callable[..., tuple[int, Any]]


def test_a_page_has_patients_and_counts(serve: Callable[..., Call]) -> None:
    status, answer = serve()("GET", "/v1/patients", offset=40)
    assert status == 200
    assert answer["meta"] == {"offset": 40, "total_items": 42, "total_pages": 5, "page_number": 5}
    assert [list(patient) for patient in answer["data"]] == [list(Patient.model_fields), list(Patient.model_fields)]


def test_a_page_of_an_empty_file_is_empty(serve: Callable[..., Call]) -> None:
    assert serve(patients=0)("GET", "/v1/patients") == (
        200,
        {"data": [], "meta": {"offset": 0, "total_items": 0, "total_pages": 0, "page_number": 1}},
    )


def test_a_page_has_the_first_ten_by_last_name_by_default(serve: Callable[..., Call]) -> None:
    call = serve()
    _, page = call("GET", "/v1/patients")
    _, everyone = call("GET", "/v1/patients", limit=100)
    names = [patient["last_name"] for patient in everyone["data"]]
    assert names == sorted(names)
    assert [patient["last_name"] for patient in page["data"]] == names[:10]


def test_pages_sort_by_every_field_in_both_directions(serve: Callable[..., Call]) -> None:
    call = serve()
    for field in SortField:
        for direction in ("asc", "desc"):
            _, page = call("GET", "/v1/patients", sort_field=field, sort_dir=direction, limit=100)
            values = [patient[field] for patient in page["data"]]
            assert values == sorted(values, reverse=direction == "desc"), (field, direction)


def test_timestamps_are_utc_to_the_microsecond(serve: Callable[..., Call]) -> None:
    _, page = serve()("GET", "/v1/patients", limit=100)
    for patient in page["data"]:
        for name in ("created_at", "updated_at"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z", patient[name])
            assert datetime.fromisoformat(patient[name]).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": 101},
        {"limit": 0},
        {"limit": "ten"},
        {"offset": -1},
        {"offset": 10**30},
        {"sort_field": "total_visits"},
        {"sort_dir": "up"},
    ],
    ids=str,
)
def test_an_invalid_parameter_is_refused(serve: Callable[..., Call], parameters: dict[str, Any]) -> None:
    status, answer = serve()("GET", "/v1/patients", **parameters)
    assert status == 422
    assert answer["detail"]
