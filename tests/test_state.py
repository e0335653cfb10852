"""Whether a state and a file belong together, and which ids the state is to have."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from pyroaring import BitMap64

from toubib_connector.destination import Destination
from toubib_connector.state import STATE_ID, is_of_data, knows_all_data, write_state

if TYPE_CHECKING:
    from pathlib import Path


def minute(number: int) -> str:
    return f"2024-01-01T00:{number:02}:00.000000Z"


def remember(destination: Destination, patients: dict[str, Any], column: str = "completed_state") -> None:
    """Write a state as Meltano does."""
    state = json.dumps({"singer_state": {"bookmarks": {"patients": patients}}})
    with closing(sqlite3.connect(destination.system_database)) as connection:
        connection.execute("create table state (state_id, completed_state, partial_state)")
        connection.execute(f"insert into state (state_id, {column}) values (?, ?)", [STATE_ID, state])
        connection.commit()


def fill(destination: Destination, patients: dict[int, int], syncs: list[int] | None) -> None:
    """Write a log: patients by the minute in which they were loaded, runs by that of their end, begun one before."""
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create schema raw")
        connection.execute(
            "create table raw.patients (id bigint, _sdc_extracted_at timestamp, _sdc_deleted_at varchar)"
        )
        for patient, number in patients.items():
            connection.execute("insert into raw.patients values (?, ?, null)", [patient, minute(number)])
        if syncs is not None:
            connection.execute("create table raw.syncs (started_at timestamp, ended_at timestamp)")
            for number in syncs:
                connection.execute("insert into raw.syncs values (?, ?)", [minute(number - 1), minute(number)])


COMPLETE = {"synced_at": minute(9), "replication_key_value": minute(5), "living": "x"}
BEGUN = {"first_load": {"last_id": 2}, "living": "x"}


@pytest.mark.parametrize(
    ("states", "patients", "syncs", "expected"),
    [
        ({}, None, None, (True, True)),
        ({}, {}, [], (True, True)),
        ({}, {1: 10}, None, (True, False)),
        ({}, {1: 10}, [10], (False, False)),
        ({"partial_state": BEGUN}, {1: 10, 2: 10}, None, (True, False)),
        ({"partial_state": BEGUN}, {}, None, (False, True)),
        ({"partial_state": BEGUN}, None, None, (False, True)),
        ({"completed_state": COMPLETE}, {1: 10, 2: 9}, [5, 10], (True, True)),
        ({"completed_state": COMPLETE}, None, None, (False, True)),
        ({"completed_state": COMPLETE}, {1: 5}, [5], (False, False)),
        ({"completed_state": COMPLETE}, {1: 10, 2: 11}, [10], (True, False)),
        ({"completed_state": COMPLETE}, {1: 10, 2: 15}, [10, 15], (True, False)),
    ],
    ids=[
        "nothing",
        "empty tables",
        "killed before the first state",
        "state lost",
        "killed in the first load",
        "killed in the first load, rows lost",
        "killed in the first load, file lost",
        "both of the last run",
        "file lost",
        "older file",
        "killed in a later run",
        "older state",
    ],
)
def test_state_and_file(
    tmp_path: Path,
    states: dict[str, dict[str, Any]],
    patients: dict[int, int] | None,
    syncs: list[int] | None,
    expected: tuple[bool, bool],
) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    for column, state in states.items():
        remember(destination, state, column)
    if patients is not None:
        fill(destination, patients, syncs)
    assert (is_of_data(destination), knows_all_data(destination)) == expected


@pytest.mark.parametrize("anew", [True, False])
def test_the_ids_of_the_living_are_those_of_the_file(tmp_path: Path, *, anew: bool) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    remember(destination, COMPLETE)
    fill(destination, {1: 10, 2: 10, 3: 10}, [10])
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("insert into raw.patients values (2, ?, 'x')", [minute(11)])
        connection.execute("insert into raw.patients values (3, ?, 'x'), (3, ?, null)", [minute(11), minute(12)])
    with destination.lock():
        written = json.loads(write_state(destination, anew=anew).read_text())
    patients = written["singer_state"]["bookmarks"]["patients"]
    assert BitMap64.deserialize(b64decode(patients.pop("living"))) == BitMap64([1, 3])
    assert patients == ({} if anew else {name: COMPLETE[name] for name in ("synced_at", "replication_key_value")})
