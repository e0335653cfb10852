import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from toubib_api import CURRENT, SEX_AT_BIRTH, Column, Release

Call = Callable[..., tuple[int, Any]]

SOMEONE = {
    "email": "zoe@example.org",
    "first_name": "Zoë",
    "last_name": "Œuvrard",
    "date_of_birth": "1990-02-28",
}


def test_a_column_appears_on_the_same_file(serve: Callable[..., Call]) -> None:
    before = serve()
    _, old = before("GET", "/v1/patients/1")
    after = serve(replace(CURRENT, columns=(*CURRENT.columns, Column("insurance_number", str))))
    assert after("GET", "/v1/patients/1") == (200, {"data": old["data"] | {"insurance_number": None}})
    _, changed = after("PATCH", "/v1/patients/1", {"insurance_number": "X1"})
    assert changed["data"]["insurance_number"] == "X1"
    _, shown = before("GET", "/v1/patients/1")
    assert shown["data"] == {key: value for key, value in changed["data"].items() if key != "insurance_number"}


def test_each_release_shows_what_the_other_one_wrote(serve: Callable[..., Call]) -> None:
    current, sex_at_birth = serve(), serve(SEX_AT_BIRTH)
    _, page = sex_at_birth("GET", "/v1/patients", limit=100)
    assert {patient["sex_at_birth"] for patient in page["data"]} == {"MALE", "FEMALE"}
    status, created = sex_at_birth("POST", "/v1/patients", SOMEONE | {"sex_at_birth": "FEMALE"})
    assert status == 201
    assert created["data"] == SOMEONE | {"id": 43, "sex_at_birth": "FEMALE"}
    _, shown = current("GET", "/v1/patients/43")
    assert shown["data"]["total_visits"] == 0
    assert shown["data"]["updated_at"] == shown["data"]["created_at"]
    sex_at_birth("PATCH", "/v1/patients/43", {"sex_at_birth": None})
    _, updated = current("GET", "/v1/patients/43")
    assert updated["data"]["updated_at"] > shown["data"]["updated_at"]
    status, _ = sex_at_birth("GET", "/v1/patients", sort_field="updated_at")
    assert status == 422


def test_a_value_the_release_does_not_foresee_stays_out_of_the_log(
    serve: Callable[..., Call], tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    call = serve()
    with closing(sqlite3.connect(tmp_path / "toubib.sqlite")) as connection, connection:
        connection.execute("update patients set first_name = null, last_name = 'Œuvrard' where id = 1")
    status, answer = call("GET", "/v1/patients/1")
    assert status == 500
    assert answer["detail"] == [
        {"type": "string_type", "loc": ["response", "data", "first_name"], "msg": "Input should be a valid string"}
    ]
    assert "Œuvrard" not in caplog.text + "".join(capfd.readouterr())


def test_apps_of_one_process_do_not_mix(serve: Callable[..., Call], tmp_path: Path) -> None:
    few, many = (serve(patients=count, database=tmp_path / f"{count}.sqlite") for count in (3, 30))
    assert few("GET", "/v1/patients")[1]["meta"]["total_items"] == 3
    assert many("GET", "/v1/patients")[1]["meta"]["total_items"] == 30


def test_every_type_comes_back_as_it_went(serve: Callable[..., Call]) -> None:
    extra = {
        "insurance_number": "Ünï 123",
        "rank": -5,
        "score": 1.25,
        "consented": False,
        "joined_on": "2020-02-29",
        "seen_at": "2024-05-06T07:08:09.123456Z",
        "sex_at_birth": "MALE",
    }
    types = {"rank": int, "score": float, "consented": bool, "joined_on": CURRENT.columns[3].type, "seen_at": datetime}
    columns = [Column(name, types.get(name, str)) for name in extra]
    columns[-1] = SEX_AT_BIRTH.columns[-1]
    call = serve(Release((*CURRENT.columns, *columns), ("id", "score", "consented")))
    status, created = call("POST", "/v1/patients", SOMEONE | extra)
    assert status == 201
    assert created["data"].items() >= extra.items()
    assert call("GET", "/v1/patients", sort_field="score", sort_dir="desc", limit=1)[1]["data"] == [created["data"]]
    _, elsewhere = call("PATCH", "/v1/patients/43", {"seen_at": "2024-05-06T03:08:09.123456-04:00"})
    assert elsewhere["data"]["seen_at"] == extra["seen_at"]
    status, _ = call("PATCH", "/v1/patients/43", {"score": float("inf")})
    assert status == 422
