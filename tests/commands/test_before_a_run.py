"""Checks before a run: which API's patients the file holds, and whether the state belongs to the file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from toubib_connector.api import Api
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.meltano import STATE_ID
from toubib_connector.pipeline import Start, prepare
from toubib_connector.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXPLAINED = "Reading every patient again"
TABLES = """
create schema if not exists raw;
create table if not exists raw.patients (
  id {type_of_ids}, _sdc_sync_started_at timestamptz, _sdc_extracted_at timestamptz, _sdc_batched_at timestamptz,
  _sdc_deleted_at timestamptz
);
create table if not exists raw.syncs (started_at timestamptz, kind varchar, api_url varchar, is_bundled_api boolean);
"""


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "patients.duckdb")


def minute(number: int) -> str:
    return f"2024-01-01T00:{number:02}:00.000000Z"


def remember(destination: Destination, patients: Any, column: str = "completed_state") -> None:
    """Write a state as Meltano does."""
    state = json.dumps({"singer_state": {"bookmarks": {"patients": patients}}})
    with closing(sqlite3.connect(destination.system_database)) as connection:
        connection.execute("create table state (state_id, completed_state, partial_state)")
        connection.execute(f"insert into state (state_id, {column}) values (?, ?)", [STATE_ID, state])
        connection.commit()


def fill(
    destination: Destination, patients: Mapping[Any, int], syncs: Mapping[int, str], type_of_ids: str = "bigint"
) -> None:
    """Write raw: patients by the start (a minute) of the run that read them, and complete runs by theirs."""
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute(TABLES.format(type_of_ids=type_of_ids))
        for patient, number in patients.items():
            connection.execute("insert into raw.patients values (?, $2, $2, $2, null)", [patient, minute(number)])
        for number, kind in syncs.items():
            connection.execute("insert into raw.syncs values (?, ?, 'http://real', false)", [minute(number), kind])


def begin(destination: Destination, *, full_refresh: bool = False, is_bundled: bool = False) -> tuple[Start, set[str]]:
    """Return how a run begins, with the ids that the tap receives."""
    with destination.lock(), destination.connect() as connection:
        settings = Settings(destination, {}, full_refresh=full_refresh)
        start = prepare(connection, settings, Api("http://asked", is_bundled=is_bundled))
        return start, {*start.known_ids.read_text().split()} if start.known_ids else set()


COMPLETE = {"synced_at": minute(10), "replication_key_value": minute(5), "known_ids": "x"}
BEGUN = {"checkpoint": {"last_id": 2}}


@pytest.mark.parametrize(
    ("states", "data", "ids"),
    [
        ({}, None, ""),
        ({}, ({}, {}), ""),
        ({}, ({1: 10}, {}), "1"),
        ({"partial_state": BEGUN}, ({1: 10, 2: 10}, {}), "12"),
        ({"completed_state": COMPLETE}, ({1: 10, 2: 5}, {5: "first_load", 10: "changes"}), ""),
        ({"completed_state": COMPLETE}, ({1: 10, 2: 11}, {10: "first_load"}), "12"),
        ({"completed_state": COMPLETE}, ({1: 10, 2: 15}, {10: "first_load", 15: "changes"}), "12"),
        ({"completed_state": {"synced_at": minute(10)}}, ({1: 10}, {10: "first_load"}), "1"),
        ({"completed_state": {"synced_at": minute(10)}}, ({}, {10: "first_load"}), ""),
    ],
    ids=[
        "nothing",
        "empty tables",
        "killed before the first checkpoint",
        "killed in the first load",
        "both of the last run",
        "killed in a later run",
        "killed between the data and the state of a run",
        "a state without ids",
        "a source without patients",
    ],
)
def test_a_run_continues_from_the_state_of_its_file(
    destination: Destination,
    capsys: pytest.CaptureFixture[str],
    states: dict[str, dict[str, Any]],
    data: tuple[dict[int, int], dict[int, str]] | None,
    ids: str,
) -> None:
    for column, state in states.items():
        remember(destination, state, column)
    if data:
        fill(destination, *data)
    start, known_ids = begin(destination)
    assert (start.full_refresh, known_ids) == (False, {*ids})
    start, known_ids = begin(destination, full_refresh=True)
    # a full refresh always receives the ids
    assert (start.full_refresh, known_ids) == (True, {*map(str, data[0])} if data else set())
    assert EXPLAINED not in capsys.readouterr().out
    assert destination.system_database.exists() == bool(states)


@pytest.mark.parametrize(
    ("state", "data"),
    [
        ({}, ({1: 10}, {10: "first_load"})),
        (BEGUN, ({1: 10}, {10: "first_load"})),
        (COMPLETE, ({1: 5}, {5: "first_load"})),
        (COMPLETE, ({1: 5}, {})),
        (COMPLETE | {"synced_at": "yesterday"}, ({1: 10}, {10: "first_load"})),
    ],
    ids=["state lost", "state of another load", "older file", "older file, killed in the first load", "edited state"],
)
def test_a_state_of_another_file_has_every_patient_read_again(
    destination: Destination,
    capsys: pytest.CaptureFixture[str],
    state: dict[str, Any],
    data: tuple[dict[int, int], dict[int, str]],
) -> None:
    if state:
        remember(destination, state)
    fill(destination, *data)
    start, known_ids = begin(destination)
    assert start.full_refresh
    assert known_ids == {"1"}
    assert EXPLAINED in capsys.readouterr().out


@pytest.mark.parametrize("state", [COMPLETE, BEGUN, {"known_ids": "x"}])
@pytest.mark.parametrize("has_tables", [False, True])
def test_a_state_without_a_file_is_removed(
    destination: Destination, capsys: pytest.CaptureFixture[str], state: dict[str, Any], *, has_tables: bool
) -> None:
    remember(destination, state)
    if has_tables:
        fill(destination, {}, {})
    start, known_ids = begin(destination)
    assert (start.full_refresh, known_ids) == (False, set())
    assert not destination.system_database.exists()
    assert f"{destination.path} and the state in" in capsys.readouterr().out


@pytest.mark.parametrize("patients", [None, [], "text"])
def test_a_state_without_a_bookmark_counts_as_none(destination: Destination, patients: Any) -> None:
    remember(destination, patients)
    assert not begin(destination)[0].full_refresh


@pytest.mark.parametrize(
    ("kinds", "is_repaired"),
    [
        (["first_load", "changes"], False),
        (["first_load", "changes", "first_load"], True),
        (["first_load", "first_load", "changes"], True),
        (["first_load", "first_load", "full", "changes"], False),
        (["full", "first_load"], True),
    ],
)
def test_a_complete_read_without_a_state_is_repaired_by_one_that_finds_deletions(
    destination: Destination, capsys: pytest.CaptureFixture[str], kinds: list[str], *, is_repaired: bool
) -> None:
    remember(destination, COMPLETE | {"synced_at": minute(len(kinds) - 1)})
    fill(destination, {1: 0}, dict(enumerate(kinds)))
    start, known_ids = begin(destination)
    assert start.full_refresh == is_repaired
    assert known_ids == ({"1"} if is_repaired else set())
    assert (EXPLAINED in capsys.readouterr().out) == is_repaired


@pytest.mark.parametrize(
    ("kind", "full_refresh", "is_built", "job"),
    [
        ("changes", False, True, "toubib"),
        ("changes", True, True, "toubib-full"),
        ("full", False, True, "toubib-full"),
        ("full", False, False, "toubib"),
    ],
)
def test_a_run_that_reads_everything_again_compacts_raw(
    destination: Destination, kind: str, job: str, *, full_refresh: bool, is_built: bool
) -> None:
    remember(destination, COMPLETE)
    fill(destination, {1: 10}, {10: kind})
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create schema bookkeeping; create table bookkeeping.builds (built_until timestamptz)")
        connection.execute("insert into bookkeeping.builds values (?)", [minute(11) if is_built else None])
    assert begin(destination, full_refresh=full_refresh)[0].job == job


def test_the_ids_are_those_of_the_current_patients_in_the_file(destination: Destination) -> None:
    fill(destination, {0: 10, 1: 10, 2: 10, 3: 10, -(2**63): 10, 2**63 - 1: 10, None: 10}, {})
    with duckdb.connect(str(destination.path)) as connection:
        deleted = "insert into raw.patients values (?, $2, $2, $2, $2)"
        connection.execute(deleted, [2, minute(11)])
        connection.execute(deleted, [3, minute(8)])
    assert begin(destination)[1] == {"0", "1", "3", str(-(2**63)), str(2**63 - 1)}


def test_text_ids_are_not_given_to_the_tap(destination: Destination) -> None:
    fill(destination, {"00001": 10, "b": 10}, {10: "first_load"}, "varchar")
    start, known_ids = begin(destination, full_refresh=True)
    assert (start.full_refresh, known_ids) == (True, set())


def test_a_state_beside_a_file_with_an_odd_name_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "100%25 #1 $HOME"
    folder.mkdir()
    destination = Destination(folder / "patients.duckdb")
    remember(destination, COMPLETE)
    fill(destination, {1: 10}, {10: "first_load"})
    assert begin(destination)[1] == set()


def sync(destination: Destination, *, is_bundled: bool, number: int = 10) -> None:
    """Add a complete run."""
    url = "http://bundled" if is_bundled else "http://real"
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute(TABLES.format(type_of_ids="bigint"))
        connection.execute("insert into raw.syncs values (?, 'changes', ?, ?)", [minute(number), url, is_bundled])


@pytest.mark.parametrize("is_bundled", [True, False])
def test_an_empty_file_takes_patients_of_any_api_and_then_of_the_same_kind(
    destination: Destination, *, is_bundled: bool
) -> None:
    begin(destination, is_bundled=is_bundled)
    sync(destination, is_bundled=is_bundled)
    begin(destination, is_bundled=is_bundled)


@pytest.mark.parametrize("is_bundled", [True, False])
def test_made_up_patients_are_not_mixed_with_those_of_another_api(
    destination: Destination, *, is_bundled: bool
) -> None:
    sync(destination, is_bundled=is_bundled)
    with pytest.raises(Failure, match=f"^{destination.path} was loaded from http.* must not be mixed"):
        begin(destination, is_bundled=not is_bundled)


def test_the_newest_run_says_where_the_patients_are_from(destination: Destination) -> None:
    sync(destination, is_bundled=False, number=2)
    sync(destination, is_bundled=True, number=1)
    begin(destination)
