import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from toubib_api import change, prepare

Call = Callable[..., tuple[int, Any]]

SOMEONE = {"email": "zoe@example.org", "first_name": "Zoë", "last_name": "Œuvrard", "date_of_birth": "1990-02-28"}


def test_a_post_creates_a_patient(serve: Callable[..., Call]) -> None:
    call = serve()
    before = datetime.now(UTC)
    status, answer = call("POST", "/v1/patients", SOMEONE)
    after = datetime.now(UTC)
    assert status == 201
    patient = answer["data"]
    assert patient == SOMEONE | {
        "id": 43,
        "total_visits": 0,
        "created_at": patient["created_at"],
        "updated_at": patient["created_at"],
    }
    assert before <= datetime.fromisoformat(patient["created_at"]) <= after
    assert call("GET", "/v1/patients/43") == (200, {"data": patient})
    _, page = call("GET", "/v1/patients", sort_field="created_at", sort_dir="desc", limit=1)
    assert page["data"] == [patient]
    assert page["meta"]["total_items"] == 43


@pytest.mark.parametrize("columns", [{"total_visits": 99}, {}], ids=str)
def test_a_patch_updates_the_given_columns(serve: Callable[..., Call], columns: dict[str, int]) -> None:
    call = serve()
    _, before = call("GET", "/v1/patients/7")
    now = datetime.now(UTC)
    status, after = call("PATCH", "/v1/patients/7", columns)
    assert status == 200
    assert datetime.fromisoformat(after["data"]["updated_at"]) >= now
    assert after["data"] == before["data"] | columns | {"updated_at": after["data"]["updated_at"]}
    assert call("GET", "/v1/patients/7") == (200, after)


def test_a_put_replaces_a_patient(serve: Callable[..., Call]) -> None:
    call = serve()
    _, before = call("GET", "/v1/patients/7")
    status, after = call("PUT", "/v1/patients/7", SOMEONE)
    assert status == 200
    assert after["data"]["updated_at"] > before["data"]["updated_at"]
    assert after["data"] == SOMEONE | {
        "id": 7,
        "total_visits": 0,
        "created_at": before["data"]["created_at"],
        "updated_at": after["data"]["updated_at"],
    }


def test_the_service_alone_sets_ids_and_timestamps(serve: Callable[..., Call]) -> None:
    own = {"id": 1, "created_at": "2001-01-01T00:00:00Z", "updated_at": "2001-01-01T00:00:00Z"}
    _, answer = serve()("POST", "/v1/patients", SOMEONE | own)
    assert answer["data"]["id"] == 43
    assert answer["data"]["created_at"] > "2024"
    assert answer["data"]["updated_at"] > "2024"


@pytest.mark.parametrize("patient_id", [0, 43, -1, 10**30])
def test_an_unknown_patient_is_not_found(serve: Callable[..., Call], patient_id: int) -> None:
    call = serve()
    for method, body in ("GET", None), ("PATCH", {"first_name": "Zoë"}), ("PUT", SOMEONE):
        status, answer = call(method, f"/v1/patients/{patient_id}", body)
        assert status == (404 if patient_id < 2**63 else 422)
        assert isinstance(answer["detail"], str)


def test_an_email_belongs_to_one_patient(serve: Callable[..., Call]) -> None:
    call = serve()
    _, before = call("GET", "/v1/patients/7")
    _, other = call("GET", "/v1/patients/8")
    taken = {"email": other["data"]["email"]}
    for method, path, body in (
        ("POST", "/v1/patients", SOMEONE | taken),
        ("PUT", "/v1/patients/7", SOMEONE | taken),
        ("PATCH", "/v1/patients/7", taken),
    ):
        status, answer = call(method, path, body)
        assert status == 409
        assert isinstance(answer["detail"], str)
    assert call("GET", "/v1/patients/7") == (200, before)
    assert call("GET", "/v1/patients")[1]["meta"]["total_items"] == 42


@pytest.mark.parametrize(
    "wrong",
    [
        {"first_name": None},
        {"date_of_birth": "1990-02-30"},
        {"total_visits": "many"},
        {"total_visits": 10**30},
        {"total_visits": float("nan")},
        {"last_name": 3},
        {"last_name": "\ud800"},
    ],
    ids=ascii,
)
def test_an_invalid_value_is_refused(serve: Callable[..., Call], wrong: dict[str, Any]) -> None:
    call = serve()
    for method, path, body in (
        ("POST", "/v1/patients", SOMEONE | wrong),
        ("PUT", "/v1/patients/7", SOMEONE | wrong),
        ("PATCH", "/v1/patients/7", wrong),
    ):
        status, answer = call(method, path, body)
        assert status == 422, method
        assert answer["detail"]


def test_a_missing_value_is_refused(serve: Callable[..., Call]) -> None:
    call = serve()
    for name in SOMEONE:
        status, _ = call("POST", "/v1/patients", {key: value for key, value in SOMEONE.items() if key != name})
        assert status == 422, name


def test_the_id_of_a_removed_patient_is_not_used_again(serve: Callable[..., Call], tmp_path: Path) -> None:
    call = serve(patients=5)
    assert change(tmp_path / "toubib.sqlite", updates=0, creations=0, removals=5).removed == [1, 2, 3, 4, 5]
    assert call("GET", "/v1/patients/5")[0] == 404
    assert call("POST", "/v1/patients", SOMEONE)[1]["data"]["id"] == 6


def test_a_long_read_holds_up_no_write(serve: Callable[..., Call], tmp_path: Path) -> None:
    call = serve()
    with closing(sqlite3.connect(tmp_path / "toubib.sqlite")) as reader:
        reader.execute("begin")
        assert reader.execute("select count(*) from patients").fetchone() == (42,)
        assert call("POST", "/v1/patients", SOMEONE)[0] == 201
        assert reader.execute("select count(*) from patients").fetchone() == (42,)


def test_concurrent_changes_do_not_overlap(tmp_path: Path) -> None:
    database = tmp_path / "toubib.sqlite"
    prepare(database, patients=100)
    with ThreadPoolExecutor(8) as pool:
        changes = list(pool.map(lambda _: change(database, removals=1), range(80)))
    assert sorted(patient for each in changes for patient in each.created) == list(range(101, 261))
    assert len({patient for each in changes for patient in each.removed}) == 80
