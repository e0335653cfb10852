"""Checks before a run: which API's patients the file holds, and whether the state belongs to the file."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from toubib_connector.api import Api
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.meltano import STATE_ID
from toubib_connector.pipeline import prepare
from toubib_connector.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPLAINED = "do not belong together"
TABLES = """
create schema if not exists raw;
create table if not exists raw.patients (
  id bigint, _sdc_sync_started_at timestamptz, _sdc_extracted_at timestamptz, _sdc_batched_at timestamptz,
  _sdc_deleted_at timestamptz
);
create table if not exists raw.syncs (started_at timestamptz, kind varchar, api_url varchar, is_bundled_api boolean);
"""


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    folder = tmp_path / "100%25 #1 $HOME"
    folder.mkdir()
    return Destination(folder / "patients.duckdb")


def minute(number: int) -> str:
    return f"2024-01-01T00:{number:02}:00.000000Z"


def remember(destination: Destination, patients: Any) -> None:
    """Write a state as Meltano does."""
    state = json.dumps({"singer_state": {"bookmarks": {"patients": patients}}})
    column = "partial_state" if patients == BEGUN else "completed_state"
    with closing(sqlite3.connect(destination.system_database)) as connection:
        connection.execute("create table state (state_id, completed_state, partial_state)")
        connection.execute(f"insert into state (state_id, {column}) values (?, ?)", [STATE_ID, state])
        connection.commit()


def fill(
    destination: Destination,
    patients: Mapping[Any, int],
    syncs: Mapping[int, str],
    *,
    is_bundled: bool = False,
) -> None:
    """Write raw: patients by the start (a minute) of the run that read them, and complete runs by theirs."""
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute(TABLES)
        for patient, number in patients.items():
            connection.execute("insert into raw.patients values (?, $2, $2, $2, null)", [patient, minute(number)])
        for number, kind in syncs.items():
            sync = [minute(number), kind, is_bundled]
            connection.execute("insert into raw.syncs values ($1, $2, 'http://other', $3)", sync)


@dataclass
class Begun:
    """How a run begins, and the ids that the tap receives."""

    full_refresh: bool
    known_ids: set[str]
    job: str


def begin(destination: Destination, *, full_refresh: bool = False, is_bundled: bool = False) -> Begun:
    with destination.lock(), destination.connect() as connection:
        settings = Settings(destination, {}, full_refresh=full_refresh)
        start = prepare(connection, settings, Api("http://asked", is_bundled=is_bundled))
        ids = start.variables.get("TAP_TOUBIB_KNOWN_IDS_FILE")
        known_ids = {*Path(ids).read_text().split()} if ids else set()
        return Begun("TAP_TOUBIB_FULL_REFRESH" in start.variables, known_ids, start.job)


COMPLETE = {"synced_at": minute(10), "replication_key_value": minute(5), "known_ids": "x"}
BEGUN = {"checkpoint": {"last_id": 2}}
FIRST = {10: "first_load"}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(({}, None, {}, "", False), id="nothing"),
        pytest.param(({}, {}, {}, "", False), id="empty tables"),
        pytest.param(({}, {1: 10}, {}, "1", False), id="killed before the first checkpoint"),
        pytest.param((BEGUN, {1: 10, 2: 10}, {}, "12", False), id="killed in the first load"),
        pytest.param((COMPLETE, {1: 10, 2: 5}, {5: "first_load", 10: "changes"}, "", False), id="both of the last run"),
        pytest.param((COMPLETE, {1: 10, 2: 11}, FIRST, "12", False), id="killed in a later run"),
        pytest.param((COMPLETE, {1: 10, 2: 15}, FIRST | {15: "changes"}, "12", False), id="killed before the state"),
        pytest.param(({"synced_at": minute(10)}, {1: 10}, FIRST, "1", False), id="a state without ids"),
        pytest.param(({"synced_at": minute(10)}, {}, FIRST, "", False), id="a source without patients"),
        pytest.param(({}, {1: 10}, FIRST, "1", True), id="state lost"),
        pytest.param((BEGUN, {1: 10}, FIRST, "1", True), id="state of another load"),
        pytest.param((COMPLETE, {1: 5}, {5: "first_load"}, "1", True), id="older file"),
        pytest.param((COMPLETE, {1: 5}, {}, "1", True), id="older file, killed in the first load"),
        pytest.param((COMPLETE | {"synced_at": "yesterday"}, {1: 10}, FIRST, "1", True), id="edited state"),
        # a complete read without a state finds no deletions; one with ids does
        pytest.param((COMPLETE, {1: 0}, {0: "first_load", 5: "changes"} | FIRST, "1", True), id="read without a state"),
        pytest.param(
            (COMPLETE, {1: 0}, {0: "first_load", 5: "first_load", 10: "changes"}, "1", True), id="before that"
        ),
        pytest.param((COMPLETE, {1: 0}, {0: "full"} | FIRST, "1", True), id="read again, then without a state"),
        pytest.param((COMPLETE, {1: 0}, {0: "first_load", 5: "first_load", 10: "full"}, "", False), id="repaired"),
    ],
)
def test_a_run_goes_on_from_its_state_or_reads_every_patient_again(
    destination: Destination,
    capsys: pytest.CaptureFixture[str],
    case: tuple[dict[str, Any], dict[int, int] | None, dict[int, str], str, bool],
) -> None:
    state, patients, syncs, ids, is_read_again = case
    if state:
        remember(destination, state)
    if patients is not None:
        fill(destination, patients, syncs)
    begun = begin(destination)
    assert (begun.full_refresh, begun.known_ids) == (is_read_again, {*ids})
    assert (EXPLAINED in capsys.readouterr().out) == is_read_again
    assert destination.system_database.exists() == bool(state)
    # a full refresh always receives the ids
    assert begin(destination, full_refresh=True).known_ids == {*map(str, patients or ())}


@pytest.mark.parametrize("state", [COMPLETE, BEGUN, {"known_ids": "x"}])
@pytest.mark.parametrize("has_tables", [False, True])
def test_a_state_without_a_file_is_removed(
    destination: Destination, capsys: pytest.CaptureFixture[str], state: dict[str, Any], *, has_tables: bool
) -> None:
    remember(destination, state)
    if has_tables:
        fill(destination, {}, {})
    begun = begin(destination)
    assert (begun.full_refresh, begun.known_ids) == (False, set())
    assert not destination.system_database.exists()
    assert EXPLAINED in capsys.readouterr().out


@pytest.mark.parametrize("patients", [None, [], "text"])
def test_a_state_without_a_bookmark_counts_as_none(destination: Destination, patients: Any) -> None:
    remember(destination, patients)
    assert not begin(destination).full_refresh


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
    assert begin(destination, full_refresh=full_refresh).job == job


def test_the_ids_are_those_of_the_current_patients_in_the_file(destination: Destination) -> None:
    fill(destination, {0: 10, 1: 10, 2: 10, 3: 10, -(2**63): 10, 2**63 - 1: 10, None: 10}, {})
    with duckdb.connect(str(destination.path)) as connection:
        deleted = "insert into raw.patients values (?, $2, $2, $2, $2)"
        connection.execute(deleted, [2, minute(11)])
        connection.execute(deleted, [3, minute(8)])
    assert begin(destination).known_ids == {"0", "1", "3", str(-(2**63)), str(2**63 - 1)}


@pytest.mark.parametrize("is_bundled", [True, False])
def test_made_up_patients_are_not_mixed_with_those_of_another_api(
    destination: Destination, *, is_bundled: bool
) -> None:
    # an empty file takes patients of any API
    begin(destination, is_bundled=not is_bundled)
    fill(destination, {}, FIRST, is_bundled=is_bundled)
    begin(destination, is_bundled=is_bundled)
    # the newest run says where the patients are from
    fill(destination, {}, {1: "first_load"}, is_bundled=not is_bundled)
    with pytest.raises(Failure, match=r"was loaded from http://other\. .* must not be mixed"):
        begin(destination, is_bundled=not is_bundled)
