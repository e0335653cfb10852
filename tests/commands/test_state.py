"""Whether a state and a file belong together, and what the next run is to begin with."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from pyroaring import BitMap64

from tap_toubib import known_ids
from tap_toubib.known_ids import KnownIds
from toubib_connector.destination import Destination
from toubib_connector.state import LONGEST_TEXT, encode_current_ids, match_state
from toubib_connector.system_database import STATE_ID

if TYPE_CHECKING:
    from pathlib import Path

SHIFT = 2**63


def minute(number: int) -> str:
    return f"2024-01-01T00:{number:02}:00.000000Z"


def remember(destination: Destination, patients: dict[str, Any], column: str = "completed_state") -> None:
    """Write a state as Meltano does."""
    state = json.dumps({"singer_state": {"bookmarks": {"patients": patients}}})
    with closing(sqlite3.connect(destination.system_database)) as connection:
        connection.execute("create table state (state_id, completed_state, partial_state)")
        connection.execute(f"insert into state (state_id, {column}) values (?, ?)", [STATE_ID, state])
        connection.commit()


def fill(
    destination: Destination, patients: dict[Any, int], syncs: list[int] | None, type_of_ids: str = "bigint"
) -> None:
    """Write raw: patients by the minute in which they were loaded, runs by that of their end, begun one before."""
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create schema raw")
        connection.execute(
            f"create table raw.patients (id {type_of_ids}, _sdc_extracted_at timestamp, _sdc_deleted_at varchar)"
        )
        for patient, number in patients.items():
            connection.execute("insert into raw.patients values (?, ?, null)", [patient, minute(number)])
        if syncs is not None:
            connection.execute("create table raw.syncs (started_at timestamp, ended_at timestamp)")
            for number in syncs:
                connection.execute("insert into raw.syncs values (?, ?)", [minute(number - 1), minute(number)])


def reconciled(destination: Destination, *, full_refresh: bool = False) -> dict[str, Any] | None:
    """Return the state of the patients that a run begins with, None for that of the last one, with its ids decoded."""
    with destination.lock():
        path = match_state(destination, full_refresh=full_refresh)
        if path is None:
            return None
        patients: dict[str, Any] = json.loads(path.read_text())["singer_state"]["bookmarks"]["patients"]
    if text := patients.get("known_ids"):
        patients["known_ids"] = {each - SHIFT for each in BitMap64.deserialize(b64decode(text))}
    return patients


COMPLETE = {"synced_at": minute(9), "replication_key_value": minute(5), "known_ids": "x"}
BEGUN = {"checkpoint": {"last_id": 2}, "known_ids": "x"}


@pytest.mark.parametrize(
    ("states", "data", "expected"),
    [
        ({}, None, None),
        ({}, ({}, []), None),
        ({}, ({1: 10}, None), {"known_ids": {1}}),
        ({}, ({1: 10}, [10]), {"known_ids": {1}}),
        ({"partial_state": BEGUN}, ({1: 10, 2: 10}, None), BEGUN | {"known_ids": {1, 2}}),
        ({"partial_state": BEGUN}, ({}, None), {}),
        ({"partial_state": BEGUN}, None, {}),
        ({"partial_state": {"known_ids": "x"}}, None, {}),
        ({"partial_state": {"checkpoint": {"last_id": 2}}}, None, {}),
        ({"completed_state": COMPLETE}, ({1: 10, 2: 9}, [5, 10]), None),
        ({"completed_state": COMPLETE}, None, {}),
        ({"completed_state": COMPLETE}, ({1: 5}, [5]), {"known_ids": {1}}),
        ({"completed_state": COMPLETE}, ({1: 10, 2: 11}, [10]), COMPLETE | {"known_ids": {1, 2}}),
        ({"completed_state": COMPLETE}, ({1: 10, 2: 15}, [10, 15]), COMPLETE | {"known_ids": {1, 2}}),
    ],
    ids=[
        "nothing",
        "empty tables",
        "killed before the first state",
        "state lost",
        "killed in the first load",
        "killed in the first load, rows lost",
        "killed in the first load, file lost",
        "killed in a first load by another field, file lost",
        "killed in the first load of an API without single patients, file lost",
        "both of the last run",
        "file lost",
        "older file",
        "killed in a later run",
        "older state",
    ],
)
def test_state_and_file(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    states: dict[str, dict[str, Any]],
    data: tuple[dict[int, int], list[int] | None] | None,
    expected: dict[str, Any] | None,
) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    for column, state in states.items():
        remember(destination, state, column)
    if data:
        fill(destination, *data)
    assert reconciled(destination) == expected
    is_everything_read = expected is not None and not {"synced_at", "checkpoint"} & expected.keys()
    is_explained = "Reading every patient again" in capsys.readouterr().out
    assert is_explained == (is_everything_read and bool(states or (data and data[1])))


@pytest.mark.parametrize("full_refresh", [True, False])
def test_the_known_ids_are_those_of_the_current_patients_in_the_file(tmp_path: Path, *, full_refresh: bool) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    remember(destination, COMPLETE)
    fill(destination, {1: 10, 2: 10, 3: 10}, [10])
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("insert into raw.patients values (2, ?, 'x')", [minute(10)[:-4] + "1Z"])
        connection.execute("insert into raw.patients values (3, ?, 'x'), (3, ?, null)", [minute(8), minute(9)])
        if not full_refresh:
            connection.execute("insert into raw.patients values (4, ?, null)", [minute(11)])
    expected = {1, 3} if full_refresh else {1, 3, 4}
    assert reconciled(destination, full_refresh=full_refresh) == COMPLETE | {"known_ids": expected}


def test_an_id_can_be_negative_zero_and_as_large_as_the_column_holds(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    ids = {-(2**63), -5, 0, 7, 2**63 - 1}
    fill(destination, dict.fromkeys(ids, 10), [10])
    assert reconciled(destination) == {"known_ids": ids}


def test_patients_whose_ids_stand_in_a_column_of_another_type_are_not_in_the_state(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    fill(destination, {7: 10, None: 10}, [10])
    assert reconciled(destination) == {"known_ids": {7}}


def test_ids_that_are_text_are_not_in_the_state(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    state = {name: COMPLETE[name] for name in ("synced_at", "replication_key_value")}
    remember(destination, state)
    fill(destination, {"00001": 10, "b": 10}, [10], "varchar")
    assert reconciled(destination) is None
    assert reconciled(destination, full_refresh=True) == state


def test_a_state_without_known_ids_is_given_them(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    state = {name: COMPLETE[name] for name in ("synced_at", "replication_key_value")}
    remember(destination, state)
    fill(destination, {1: 10}, [10])
    assert reconciled(destination) == state | {"known_ids": {1}}


def test_ids_that_the_tap_does_not_keep_are_not_read_again_and_again(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    remember(destination, {"synced_at": minute(9)})
    fill(destination, {1: 10, 2: 11}, [10])
    with duckdb.connect(str(destination.path)) as connection:
        # the release before this one did not tell
        connection.execute("alter table raw.syncs add column recovered bigint default 0")
    assert reconciled(destination) is None
    assert reconciled(destination, full_refresh=True) == {"synced_at": minute(9), "known_ids": {1, 2}}


@pytest.mark.parametrize("ids", [set(), {0}, {-(2**63), -5, 7, 2**63 - 1}, set(range(1_000))])
def test_the_tap_codes_ids_in_the_same_way(ids: set[int]) -> None:
    state: dict[str, Any] = {}
    KnownIds(ids, is_kept=True).save(state)
    with duckdb.connect() as connection:
        connection.execute("create schema raw")
        connection.execute(
            """
            create table raw.patients as
            select unnest($ids::bigint[]) as id, now() as _sdc_extracted_at, null as _sdc_deleted_at
        """,
            {"ids": list(ids)},
        )
        assert encode_current_ids(connection) == state["known_ids"]
    assert LONGEST_TEXT == known_ids.LONGEST_TEXT


def test_a_state_in_a_folder_with_an_odd_name_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "100%25 #1 $HOME"
    folder.mkdir()
    destination = Destination(folder / "patients.duckdb")
    remember(destination, COMPLETE)
    fill(destination, {1: 10}, [10])
    assert reconciled(destination) is None
