"""Generated logs: the history is that of the model, however the log was split into builds."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import duckdb
import pytest
from history_model import DAY, Observation, versions
from support import Destination

if TYPE_CHECKING:
    from pathlib import Path

RUNS = 8
BUILD_OF_RUN = (0, 0, 1, 1, 2, 2, 3, 3)
"""The build that a run is followed by, at the earliest."""
NAMING_RUN = 4
"""The first run of which it is known that it saw the late column; the one before saw it and was killed."""
MINUTE = 60_000_000
HOUR = 60 * MINUTE
NAMES = [
    (None, None),
    ("", None),
    (None, ""),
    ("a", "bc"),
    ("ab", "c"),
    ("a", None),
    (None, "a"),
    ("abc", ""),
    ("NULL", "null"),
    ("a\nb", '"'),
    ("'", "\\"),
    ("\N{PILE OF POO}", "\u2028"),
    ("A", "BC"),
    (" a", "bc "),
]
PATIENTS = range(2_000)
"""Compared with the model."""
TIED = range(2_000, 2_500)
"""Seen with different contents at one instant, of which the rule says nothing but that the order is always the same."""
TRUE = range(2_500, 3_000)
"""Of a source whose `updated_at` tells the truth, and of which a run saw every change."""


@dataclass(frozen=True)
class Row:
    """An observation of a patient and the build before which it was loaded."""

    patient: int
    build: int
    observation: Observation


def log_of(patient: int, rng: random.Random) -> list[Row]:
    """Generate what was seen of a patient, sometimes twice the same, and loaded in that order."""
    rows: list[Row] = []
    build = 0
    observed = sorted(rng.sample(range(RUNS * 60), rng.randint(1, 9)))
    if patient in TIED:
        observed = sorted(rng.choices(observed, k=len(observed)))
    names = rng.sample(NAMES, rng.randint(1, 3))
    updated: int | None = None
    for minute in observed:
        run = minute // 60
        if not rows or rows[-1].observation.observed < minute * MINUTE:  # what was seen later was loaded later
            build = max(BUILD_OF_RUN[run], build if rng.random() < 0.8 else rng.randint(build, 3))
        if rng.random() < 0.7:
            lag = rng.choice([0, 1, 5, 60, 120, 300, -1, -60, -3 * 24 * 60])
            updated = rng.choice([None, *[(minute - lag) * MINUTE] * 5])
        is_gone = rng.random() < 0.15
        observation = Observation(
            observed=minute * MINUTE,
            updated=updated,
            deleted=(minute - rng.choice([0, 0, 30])) * MINUTE if is_gone else None,
            names=(None, None) if is_gone else rng.choice(names),
            insurance=rng.choice([None, "x", "y"]) if run >= NAMING_RUN - 1 and not is_gone else None,
        )
        rows += [Row(patient, build, observation)] * rng.choice([1, 1, 1, 2])
        if patient not in TIED and rng.random() < 0.3:
            again = observation.observed + rng.randint(1, MINUTE - 1)
            repeated = Observation(again, observation.updated, observation.deleted, *contents(observation))
            rows.append(Row(patient, build, repeated))
    return rows


def contents(observation: Observation) -> tuple[tuple[str | None, ...], str | None]:
    return observation.names, observation.insurance


def true_log_of(patient: int, rng: random.Random) -> list[Row]:
    """Generate a log in which each change was seen before the next one."""
    instants = sorted(rng.sample(range(RUNS * 60), 2 * rng.randint(1, 5)))
    rows = []
    lives = False
    for changed, observed in zip(instants[::2], instants[1::2], strict=True):
        lives = not lives or rng.random() < 0.7
        at, seen = changed * MINUTE, observed * MINUTE
        names = rng.choice(NAMES) if lives else (None, None)
        observation = Observation(seen, at if lives else None, None if lives else at, names, None)
        rows.append(Row(patient, BUILD_OF_RUN[observed // 60], observation))
    return rows


def append(destination: Destination, rows: list[Row], runs: list[int]) -> None:
    """Append rows in no order, and the audits of runs."""
    rows = random.Random(len(rows)).sample(rows, len(rows))  # noqa: S311 -- no secret
    file = destination.path.with_suffix(".json")
    file.write_text(json.dumps([asdict(row) for row in rows]))
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("alter table raw.patients add column if not exists insurance varchar")
        connection.execute(f"""
            insert into raw.patients (
              id, first_name, last_name, insurance, updated_at, _sdc_deleted_at, _sdc_extracted_at, _sdc_batched_at
            )
            select patient, observation.names[1], observation.names[2], observation.insurance,
              make_timestamp(cast(observation.updated as bigint)), make_timestamp(cast(observation.deleted as bigint)),
              make_timestamp(cast(observation.observed as bigint)),
              make_timestamp(cast(({RUNS} + build) * {DAY} as bigint))
            from read_json('{file}')
        """)
        for run in runs:
            names = "first_name,id,last_name" + ",insurance" * (run >= NAMING_RUN) + ",ward" * (run > NAMING_RUN)
            connection.execute(f"""
                insert into raw.syncs (started_at, columns, kind, _sdc_extracted_at)
                values (make_timestamp({run * HOUR}), '{names}', 'changes', make_timestamp({run * HOUR}))
            """)


def build(destination: Destination, *arguments: str) -> None:
    outcome = destination.dbt("build", "--exclude-resource-type", "unit_test", *arguments)
    assert outcome.returncode == 0, outcome.stdout


@pytest.fixture(scope="module")
def log() -> dict[int, list[Row]]:
    """What was seen of each patient."""
    rng = random.Random(4)  # noqa: S311 -- no secret
    return {patient: log_of(patient, rng) for patient in (*PATIENTS, *TIED)} | {
        patient: true_log_of(patient, rng) for patient in TRUE
    }


@pytest.fixture(scope="module")
def rows(log: dict[int, list[Row]]) -> list[Row]:
    return [row for rows in log.values() for row in rows]


@pytest.fixture(scope="module")
def in_steps(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Destination:
    """A history that four builds made."""
    destination = Destination(tmp_path_factory.mktemp("steps") / "destination.duckdb")
    build(destination)
    for number in range(4):
        runs = [run for run in range(RUNS) if BUILD_OF_RUN[run] == number and run != NAMING_RUN - 1]
        append(destination, [row for row in rows if row.build == number], runs)
        build(destination)
    return destination


def test_the_history_is_that_of_the_model(log: dict[int, list[Row]], in_steps: Destination) -> None:
    found: dict[int, list[tuple[object, ...]]] = {patient: [] for patient in PATIENTS}
    for patient, *version in in_steps.query(f"""
        select patient_id, first_name, last_name, insurance, epoch_us(valid_from), epoch_us(valid_to), ended_by,
          epoch_us(observed_at), epoch_us(updated_at)
        from main.patients_history where patient_id < {PATIENTS.stop} order by patient_id, version_number
    """):
        found[patient].append(tuple(version))
    assert found == {
        patient: [
            (*one.names, one.insurance, one.valid_from, one.valid_to, one.ended_by, one.observed, one.updated)
            for one in versions([row.observation for row in log[patient]], NAMING_RUN * HOUR)
        ]
        for patient in PATIENTS
    }


def test_the_changes_are_the_fields_in_which_adjoining_versions_differ(
    log: dict[int, list[Row]], in_steps: Destination
) -> None:
    expected = [
        (patient, number, field, old, new, after.valid_from)
        for patient in PATIENTS
        for history in [versions([row.observation for row in log[patient]], NAMING_RUN * HOUR)]
        for number, (before, after) in enumerate(pairwise(history), start=2)
        for field, old, new in zip(
            ("first_name", "last_name", "insurance"),
            (*before.names, before.insurance),
            (*after.names, after.insurance),
            strict=True,
        )
        if before.ended_by == "change" and old != new
    ]
    found = in_steps.query(f"""
        select patient_id, version_number, field, old, new, epoch_us(changed_at)
        from main.patient_changes where patient_id < {PATIENTS.stop}
    """)
    assert Counter(found) == Counter(expected)


def test_a_rebuilt_history_is_the_same(in_steps: Destination, tmp_path: Path) -> None:
    copy = in_steps.copy(tmp_path / "copy.duckdb")
    build(copy, "--full-refresh")
    assert copy.rows("main.patients_history") == in_steps.rows("main.patients_history")


def test_a_history_built_at_once_is_the_same(rows: list[Row], in_steps: Destination, tmp_path: Path) -> None:
    destination = Destination(tmp_path / "destination.duckdb")
    build(destination)
    append(destination, rows, [run for run in range(RUNS) if run != NAMING_RUN - 1])
    build(destination)
    assert destination.rows("main.patients_history") == in_steps.rows("main.patients_history")


def test_no_observation_is_kept_that_repeats_the_one_before(rows: list[Row], in_steps: Destination) -> None:
    kept = in_steps.query("select count(*) from raw.patients")[0][0]
    assert len({(row.patient, contents(row.observation)) for row in rows}) < kept < 0.9 * len(rows)


@pytest.mark.parametrize("minute", random.Random(5).sample(range(RUNS * 60), 12))  # noqa: S311 -- no secret
def test_the_patients_as_of_an_instant_are_those_of_a_copy_made_then(
    log: dict[int, list[Row]], in_steps: Destination, minute: int
) -> None:
    instant = minute * MINUTE
    copy = set()
    for patient in TRUE:
        changes = [row.observation for row in log[patient]]
        index = bisect_right(changes, instant, key=lambda one: one.deleted or one.updated or 0)
        if index and changes[index - 1].deleted is None:
            copy.add((patient, *changes[index - 1].names))
    assert copy == set(
        in_steps.query(f"""
            select patient_id, first_name, last_name from main.patients_as_of(make_timestamp({instant}))
            where patient_id >= {TRUE.start}
        """)
    )
