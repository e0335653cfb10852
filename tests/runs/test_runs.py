"""The lines that runs leave, however they end, and the numbers in them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support import Destination as Commands

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.runs import append_run, read_runs, record_run
from toubib_connector.sql import query

MARKER = "Marker7f3a"


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "patients.duckdb")


def test_runs_are_read_newest_first_and_a_line_that_was_cut_short_is_left_out(destination: Destination) -> None:
    assert read_runs(destination, 10) == []
    begun = datetime(2024, 1, 1, tzinfo=UTC)
    lines: list[dict[str, Any]] = [
        {"started_at": begun + timedelta(hours=number), "ended_at": begun, "reason": f"héé {number}"}
        for number in range(3)
    ]
    append_run(destination, lines[0])
    with destination.runs.open("a") as file:
        file.write('\n{"started_at": "20')
    append_run(destination, lines[1])
    append_run(destination, lines[2])
    reasons = ["héé 2", "héé 1", "héé 0"]
    assert [run["reason"] for run in read_runs(destination, 2)] == reasons[:2]
    assert [run["reason"] for run in read_runs(destination, 10)] == reasons
    assert read_runs(destination, 1)[0].items() > lines[2].items()


def test_a_run_leaves_a_line_with_its_numbers(destination: Destination) -> None:
    with record_run(destination, "hourly") as run:
        run["new"] = 5
    [line] = read_runs(destination, 10)
    assert (line["outcome"], line["reason"], line["trigger"], line["new"]) == ("succeeded", None, "hourly", 5)
    assert line["started_at"] <= line["ended_at"] <= datetime.now(UTC)
    assert line["seconds"] == pytest.approx((line["ended_at"] - line["started_at"]).total_seconds(), abs=0.1)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (OSError(28, "No space left on device", "/data/x"), "failed", "/data/x: No space left on device"),
        (
            duckdb.ConversionException(f"Conversion Error: Could not convert string '{MARKER}' to INT32\n{MARKER}"),
            "failed",
            "DuckDB says: Conversion Error: (withheld, since it can quote a patient)",
        ),
        (
            duckdb.CatalogException("Catalog Error: Table with name syncs does not exist!"),
            "failed",
            "DuckDB says: Catalog Error: Table with name syncs does not exist!",
        ),
        (Failure("the API is down"), "failed", "the API is down"),
        (KeyError(MARKER), "failed", "KeyError"),
        (SystemExit(143), "stopped", "Stopped: what was loaded is kept; the next run goes on from there"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_end_of_a_run_is_recorded_in_one_line(
    destination: Destination, error: BaseException, outcome: str, reason: str
) -> None:
    with pytest.raises(BaseException) as caught, record_run(destination, "manual"):  # noqa: PT011
        raise error
    [line] = read_runs(destination, 10)
    assert (line["outcome"], line["reason"]) == (outcome, reason)
    assert isinstance(caught.value, type(error)) or str(caught.value) == reason


def test_a_run_that_cannot_be_recorded_keeps_its_outcome(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="the API is down"), record_run(Destination(tmp_path / "none" / "x"), "manual"):
        raise Failure("the API is down")
    assert list(tmp_path.iterdir()) == []
    destination = Destination(tmp_path / "x.duckdb")
    destination.runs.mkdir()
    with record_run(destination, "manual"):
        pass


def test_a_run_on_a_locked_file_leaves_a_line(destination: Destination) -> None:
    with destination.lock():
        with pytest.raises(Failure), record_run(destination, "manual"), destination.lock():
            pass
        [line] = read_runs(destination, 10)
    assert line["reason"] == f"Another run is writing to {destination.path}. Run again when it has ended."


def test_a_first_run_that_fails_leaves_a_line_and_nothing_else(tmp_path: Path) -> None:
    destination = Commands(tmp_path / "patients.duckdb")
    outcome = destination.run("run", API_BASEURL="http://127.0.0.1:1", TOUBIB_TRIGGER="hourly")
    assert outcome.returncode == 1
    [file] = tmp_path.iterdir()
    run = json.loads(file.read_text().strip())
    assert f"Error: {run['reason']}" == outcome.stdout.splitlines()[-1]
    assert (run["outcome"], run["trigger"]) == ("failed", "hourly")
    assert file.stat().st_mode & 0o777 == 0o600


TABLES = """
create schema raw;
create table raw.patients (id bigint, _sdc_sync_started_at timestamptz, _sdc_batched_at timestamptz,
  _sdc_deleted_at timestamptz);
create table main.patients (patient_id bigint);
create table main.patients_history (
  patient_id bigint, version_number bigint, ended_by varchar, created_at timestamptz, sync_started_at timestamptz
);
create table main.syncs (
  started_at timestamptz, kind varchar, bookmark_before timestamptz, records bigint, rejected bigint, requests bigint
);
"""


def day(number: int) -> str:
    return f"2024-01-{number:02} 00:00:00+00"


def numbers(observations: dict[int, set[int]], deletions: dict[int, set[int]], built_until: int | None) -> Any:
    """Return the numbers of the run of day 20. Patients are given by the day of the run that observed or missed them.

    Patients have the id of the day on which they were created at the source. The run of day 15 has failed.
    """
    with duckdb.connect() as connection:
        connection.execute(TABLES)
        for started_at, kind in ((10, "first_load"), (20, "changes")):
            values = [day(started_at), kind, day(8) if kind == "changes" else None]
            connection.execute("insert into main.syncs values (?, ?, ?, 7, 1, 4)", values)
        events = sorted(
            (run, is_deleted, patient)
            for is_deleted, runs in ((False, observations), (True, deletions))
            for run, patients in runs.items()
            for patient in patients
        )
        versions: dict[int, list[list[Any]]] = {}
        for run, is_deleted, patient in events:
            deleted_at = day(run) if is_deleted else None
            connection.execute("insert into raw.patients values (?, $2, $2, $3)", [patient, day(run), deleted_at])
            history = versions.setdefault(patient, [])
            if history:
                history[-1][2] = history[-1][2] or ("deletion" if is_deleted else "change")
            if not is_deleted:
                history.append([patient, len(history) + 1, None, day(patient), day(run)])
        for history in versions.values():
            for version in history:
                connection.execute("insert into main.patients_history values (?, ?, ?, ?, ?)", version)
            if history[-1][2] is None:
                connection.execute("insert into main.patients values (?)", history[-1][:1])
        [row] = query(connection, "last_run", built_until=built_until and datetime.fromisoformat(day(built_until)))
        return row


RUN = {"kind": "changes", "read": 7, "rejected": 1, "requests": 4}
NOTHING = dict.fromkeys(("new", "changed", "deleted", "returned", "recovered"), 0)


def test_a_run_that_found_nothing_brought_nothing() -> None:
    assert numbers({10: {1, 2}}, {}, 10) == RUN | NOTHING | {"patients": 2}
    assert numbers({}, {}, None) == RUN | NOTHING | {"patients": 0}


def test_each_patient_counts_for_one_kind_of_change() -> None:
    observations = {10: {1, 2, 3, 4}, 15: {1}, 20: {2, 4, 9, 5}}
    # 4 was deleted and returned; 5 was created before the bookmark of the run before, which missed it
    expected = {"new": 1, "changed": 2, "deleted": 1, "returned": 1, "recovered": 1, "patients": 5}
    assert numbers(observations, {12: {4}, 20: {3}}, 12) == RUN | expected


def test_a_run_counts_the_changes_that_a_failed_run_had_loaded() -> None:
    observations = {10: {1, 2}, 15: {1, 11, 12}, 20: {13}}
    assert numbers(observations, {15: {2}}, 10) == RUN | NOTHING | {"new": 3, "changed": 1, "deleted": 1, "patients": 4}
    # a first load in two parts
    assert numbers({15: {1, 2, 9}, 20: {10, 11}}, {}, None)["new"] == 5
