"""The rule of the history, case by case. All cases are in one file, which two builds build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pytest
from support import Destination

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_process import Dbt


@dataclass(frozen=True)
class Case:
    """Observations and the versions that follow from them; instants are minutes.

    Attributes:
        observations: First name (None in a tombstone), `updated_at` or the instant of the deletion, when it was seen.
        versions: First name, `valid_from`, `valid_to` as minutes of an hour and seconds, `ended_by`.
    """

    observations: list[tuple[str | None, int | None, int]]
    versions: list[tuple[str | None, str, str | None, str | None]]


US = "00.000001"
FAR = 3 * 24 * 60
NULL = "NULL"
RUNS = {0: "changes", 50: "full", 53: "changes", 55: "first_load", 58: "full"}
"""The kinds of the runs that ended well, by the minute of their start."""
KILLED = 42
"""The start of a full refresh that was killed: it has no row in raw.syncs."""
CASES = {
    "the same content again": Case([("A", 1, 10), ("A", 1, 20)], [("A", "01:00", None, None)]),
    "changed there and back": Case(
        [("A", 1, 10), ("B", 5, 20), ("A", 7, 30)],
        [("A", "01:00", "05:00", "change"), ("B", "05:00", "07:00", "change"), ("A", "07:00", None, None)],
    ),
    "a change that arrives late": Case(
        [("A", 1, 10), ("C", 7, 20), ("B", 5, 30)],
        [("A", "01:00", "05:00", "change"), ("B", "05:00", "07:00", "change"), ("C", "07:00", None, None)],
    ),
    "changed under the same updated_at": Case(
        [("A", 1, 10), ("B", 1, 20)], [("A", "01:00", "20:00", "change"), ("B", "20:00", None, None)]
    ),
    "without updated_at": Case(
        [("A", None, 10), ("B", None, 20)], [("A", "10:00", "20:00", "change"), ("B", "20:00", None, None)]
    ),
    "updated_at from the second version on": Case(
        [("A", None, 10), ("B", 15, 20)], [("A", "10:00", "15:00", "change"), ("B", "15:00", None, None)]
    ),
    "changed without updated_at, then with one from before": Case(
        [("A", 1, 10), ("B", 1, 20), ("C", 15, 30)],
        [("A", "01:00", "20:00", "change"), ("B", "20:00", f"20:{US}", "change"), ("C", f"20:{US}", None, None)],
    ),
    "updated_at a little in the future": Case(
        [("A", 1, 10), ("C", 50, 20), ("B", 40, 30)],
        [("A", "01:00", "30:00", "change"), ("B", "30:00", f"30:{US}", "change"), ("C", f"30:{US}", None, None)],
    ),
    "updated_at far in the future": Case(
        [("A", 1, 10), ("B", FAR, 20), ("C", 25, 30)],
        [("A", "01:00", "20:00", "change"), ("B", "20:00", "25:00", "change"), ("C", "25:00", None, None)],
    ),
    "updated_at far in the future, until that is near": Case(
        [("A", FAR + 5, 10), ("A", FAR + 5, FAR - 20), ("B", FAR - 39, FAR)],
        [("A", "10:00", "21:00", "change"), ("B", "21:00", "40:00", "change"), ("A", "40:00", None, None)],
    ),
    "deleted twice": Case([("A", 1, 10), (None, 20, 20), (None, 30, 30)], [("A", "01:00", "20:00", "deletion")]),
    "deleted before it was ever seen": Case([(None, 5, 5), ("A", 7, 10)], [("A", "07:00", None, None)]),
    "back after a deletion, changed": Case(
        [("A", 1, 10), (None, 20, 20), ("B", 25, 30)], [("A", "01:00", "20:00", "deletion"), ("B", "25:00", None, None)]
    ),
    "back after a deletion, as it was": Case(
        [("A", 1, 10), (None, 20, 20), ("A", 1, 30), ("A", 1, 40)],
        [("A", "01:00", "20:00", "deletion"), ("A", "30:00", None, None)],
    ),
    "back after a deletion, as it was, then changed before it was seen to be back": Case(
        [("A", 1, 10), (None, 20, 20), ("A", 1, 30), ("B", 25, 40)],
        [("A", "01:00", "20:00", "deletion"), ("A", "30:00", f"30:{US}", "change"), ("B", f"30:{US}", None, None)],
    ),
    "deleted by a source whose clock is behind its updated_at": Case(
        [("A", 30, 25), (None, 28, 28)], [("A", "25:00", "28:00", "deletion")]
    ),
    "older content, read by a full refresh that was killed": Case(
        [("B", 9, 20), ("A", 5, 45)], [("A", "05:00", "09:00", "change"), ("B", "09:00", None, None)]
    ),
    "read and found to be deleted at the same instant": Case(
        [("A", 1, 20), (None, 20, 20)], [("A", "01:00", "20:00", "deletion")]
    ),
    "a null beside a value under the same updated_at": Case(
        [("A", 1, 10), (NULL, 1, 20)], [("A", "01:00", None, None)]
    ),
    "a null between two values under the same updated_at": Case(
        [("A", 1, 10), (NULL, 1, 20), ("B", 1, 30)], [("A", "01:00", "30:00", "change"), ("B", "30:00", None, None)]
    ),
    "a null under a later updated_at": Case(
        [("A", 1, 10), (NULL, 5, 20)], [("A", "01:00", "05:00", "change"), (None, "05:00", None, None)]
    ),
    "restored, then changed": Case(
        [("B", 9, 20), ("A", 5, 51), ("C", 53, 54)],
        [("B", "09:00", "51:00", "change"), ("A", "51:00", "53:00", "change"), ("C", "53:00", None, None)],
    ),
    "seen late and then restored to that": Case(
        [("B", 9, 20), ("A", 5, 30), ("A", 5, 51)],
        [("A", "05:00", "09:00", "change"), ("B", "09:00", "51:00", "change"), ("A", "51:00", None, None)],
    ),
    "restored before it was deleted": Case(
        [("B", 9, 20), (None, 51, 51), ("A", 5, 56)], [("B", "09:00", "51:00", "deletion"), ("A", "56:00", None, None)]
    ),
    "restored, then changed without updated_at, then with one from before that": Case(
        [("B", 30, 35), ("A", 5, 51), ("D", None, 53), ("C", 20, 54)],
        [
            ("B", "30:00", "51:00", "change"),
            ("A", "51:00", "53:00", "change"),
            ("D", "53:00", "54:00", "change"),
            ("C", "54:00", None, None),
        ],
    ),
    "restored to two states, seen newest first": Case(
        [("B", 9, 20), ("C", 7, 51), ("A", 5, 52)],
        [("B", "09:00", "52:00", "change"), ("A", "52:00", f"52:{US}", "change"), ("C", f"52:{US}", None, None)],
    ),
    "changed while a full refresh reads, seen newest first": Case(
        [("A", 1, 10), ("B", 50, 51), ("A", 1, 52)], [("A", "01:00", "50:00", "change"), ("B", "50:00", None, None)]
    ),
}


def minute(number: int | None) -> str:
    return "null" if number is None else f"(timestamptz '2024-01-01 00:00:00Z' + interval {number} minutes)"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Destination:
    """A destination whose history was built in two steps: from half of the observations, then from the rest."""
    destination = Destination(tmp_path_factory.mktemp("history") / "destination.duckdb")
    dbt.build(destination.path)
    for half in (0, 1):
        append(destination.path, half)
        dbt.build(destination.path)
    return destination


def append(path: Path, half: int) -> None:
    """Append the observations of the cases, the first half of each or the second, and the runs of that half."""
    rows = [
        f"({patient}, nullif({'null' if name is None else repr(name)}, '{NULL}'), "
        f"{minute(None if name is None else at)}, {minute(observed)}, {minute(40 + half)}, "
        f"{'null' if name else minute(at)}, {minute(run_of(observed))})"
        for patient, case in enumerate(CASES.values())
        for index, (name, at, observed) in enumerate(case.observations)
        if half == 2 * index // len(case.observations)
    ]
    columns = "id, first_name, updated_at, _sdc_extracted_at, _sdc_batched_at, _sdc_deleted_at, _sdc_sync_started_at"
    with duckdb.connect(str(path)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(f"insert into raw.patients ({columns}) values {', '.join(rows)}")
        for started, kind in RUNS.items():
            if half == (started > KILLED):
                connection.execute(
                    "insert into raw.syncs (started_at, kind, total_items_after, _sdc_batched_at) "
                    f"values ({minute(started)}, '{kind}', {len(current())}, {minute(40 + half)})"
                )


def run_of(observed: int) -> int:
    """Return the minute in which the run of an observation began."""
    return max(started for started in (*RUNS, KILLED) if started <= observed)


def current() -> list[int]:
    return [patient for patient, case in enumerate(CASES.values()) if case.versions[-1][3] is None]


@pytest.mark.parametrize("name", CASES)
def test_versions(built: Destination, name: str) -> None:
    versions = built.query(f"""
        select first_name, strftime(valid_from, '%M:%S.%f'), strftime(valid_to, '%M:%S.%f'), ended_by
        from main.patients_history
        where patient_id = {list(CASES).index(name)}
        order by version_number
    """)
    assert versions == [
        (first_name, exact(valid_from), exact(valid_to), ended_by)
        for first_name, valid_from, valid_to, ended_by in CASES[name].versions
    ]


def exact(instant: str | None) -> str | None:
    return instant if instant is None or "." in instant else f"{instant}.000000"


def test_the_patients_are_the_current_ones(built: Destination) -> None:
    assert built.query("select patient_id from main.patients order by 1") == [(patient,) for patient in current()]
