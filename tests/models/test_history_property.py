"""Generated observations: the history is that of the model, however they were split into builds."""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections import Counter
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import duckdb
import pytest
from history_model import DAY, Observation, Run, versions
from support import Destination

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_process import Dbt

RUNS = range(8)
BUILD_OF_RUN = (0, 0, 1, 1, 2, 2, 3, 3)
"""The build that a run is followed by, at the earliest."""
KILLED = 3
LATE = 2
"""Its row in raw.syncs arrives one build later than what it observed."""
FULL = {0, 2, KILLED, 5, 7}
AHEAD = 4
"""The clock of this run's machine was two and a half hours ahead."""
INSURANCE = {KILLED, 4, 5, 7}
"""The runs that emitted this column."""
WARD = {6, 7}
MINUTE = 60_000_000
HOUR = 60 * MINUTE
STARTS = [number * HOUR + 150 * MINUTE * (number == AHEAD) for number in RUNS]
ENDED = [Run(STARTS[number], number in FULL) for number in RUNS if number != KILLED]
COLUMNS = ("first_name", "last_name", "insurance", "ward")
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


def rows_of(patient: int, rng: random.Random) -> list[Row]:
    """Generate what was seen of a patient, sometimes twice the same, and loaded in that order."""
    rows: list[Row] = []
    build = 0
    observed = sorted(rng.sample(range(len(RUNS) * 60), rng.randint(1, 9)))
    if patient in TIED:
        observed = sorted(rng.choices(observed, k=len(observed)))
    names = rng.sample(NAMES, rng.randint(1, 3))
    updated = previous = None
    for minute in observed:
        run = minute // 60
        if minute != previous:  # what was seen later was loaded later
            build = max(BUILD_OF_RUN[run], build if rng.random() < 0.8 else rng.randint(build, 3))
        previous = minute
        if rng.random() < 0.7:
            lag = rng.choice([0, 1, 5, 60, 120, 300, -1, -60, -3 * 24 * 60])
            updated = rng.choice([None, *[(minute - lag) * MINUTE] * 5])
        late = (rng.choice([None, "x", "y"]) if run in runs else None for runs in (INSURANCE, WARD))
        is_deleted = rng.random() < 0.15
        observation = Observation(
            run=STARTS[run],
            observed=minute * MINUTE + STARTS[run] - run * HOUR,
            updated=None if is_deleted else updated,
            is_deletion=is_deleted,
            content=(None,) * 4 if is_deleted else (*rng.choice(names), *late),
        )
        rows += [Row(patient, build, observation)] * rng.choice([1, 1, 1, 2])
        if patient not in TIED and rng.random() < 0.3:
            again = observation.observed + rng.randint(1, MINUTE - 1)
            rows.append(Row(patient, build, replace(observation, observed=again)))
    return rows


def true_rows_of(patient: int, rng: random.Random) -> list[Row]:
    """Generate what was seen where each change was seen before the next one."""
    minutes = [minute for minute in range(len(RUNS) * 60) if minute // 60 != AHEAD]
    instants = sorted(rng.sample(minutes, 2 * rng.randint(1, 5)))
    rows = []
    is_there = False
    for changed, observed in zip(instants[::2], instants[1::2], strict=True):
        is_there = not is_there or rng.random() < 0.7
        at, seen = changed * MINUTE, observed * MINUTE
        content = (*(rng.choice(NAMES) if is_there else (None, None)), None, None)
        observation = Observation(STARTS[observed // 60], seen, at if is_there else None, not is_there, content)
        rows.append(Row(patient, BUILD_OF_RUN[observed // 60], observation))
    return rows


def append(path: Path, rows: list[Row], runs: list[Run], build: int) -> None:
    """Append rows in no order, and the rows in raw.syncs of runs."""
    rows = random.Random(len(rows)).sample(rows, len(rows))  # noqa: S311 -- no secret
    file = path.with_suffix(".json")
    file.write_text(json.dumps([asdict(row) for row in rows]))
    loaded = f"make_timestamptz(cast({len(RUNS) + build} * {DAY} as bigint))"
    with duckdb.connect(str(path)) as connection:
        for column in COLUMNS[2:]:
            connection.execute(f"alter table raw.patients add column if not exists {column} varchar")
        connection.execute(f"""
            insert into raw.patients (
              id, {", ".join(COLUMNS)}, updated_at, _sdc_deleted_at, _sdc_extracted_at, _sdc_sync_started_at,
              _sdc_batched_at
            )
            select patient, {", ".join(f"observation.content[{number}]" for number in range(1, 5))},
              make_timestamptz(cast(observation.updated as bigint)),
              if(observation.is_deletion, make_timestamptz(cast(observation.observed as bigint)), null),
              make_timestamptz(cast(observation.observed as bigint)),
              make_timestamptz(cast(observation.run as bigint)),
              {loaded} + to_microseconds(list_position({STARTS}, observation.run))
            from read_json('{file}')
        """)
        for run in runs:
            connection.execute(f"""
                insert into raw.syncs (started_at, kind, _sdc_batched_at) values (
                  make_timestamptz({run.started}), '{"full" if run.is_full else "changes"}',
                  {loaded} + to_microseconds({STARTS.index(run.started) + 1})
                )
            """)


def runs_of(build: int) -> list[Run]:
    """Return the runs whose rows in raw.syncs arrive before a build."""
    numbers = [STARTS.index(run.started) for run in ENDED]
    return [run for run, number in zip(ENDED, numbers, strict=True) if BUILD_OF_RUN[number] + (number == LATE) == build]


@pytest.fixture(scope="module")
def seen() -> dict[int, list[Row]]:
    """What was seen of each patient."""
    rng = random.Random(4)  # noqa: S311 -- no secret
    return {patient: rows_of(patient, rng) for patient in (*PATIENTS, *TIED)} | {
        patient: true_rows_of(patient, rng) for patient in TRUE
    }


@pytest.fixture(scope="module")
def rows(seen: dict[int, list[Row]]) -> list[Row]:
    return [row for rows in seen.values() for row in rows]


@pytest.fixture(scope="module")
def in_steps(rows: list[Row], tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Destination:
    """A history that four builds made."""
    destination = Destination(tmp_path_factory.mktemp("steps") / "destination.duckdb")
    dbt.build(destination.path)
    for number in range(4):
        append(destination.path, [row for row in rows if row.build == number], runs_of(number), number)
        dbt.build(destination.path)
    return destination


def test_the_history_is_that_of_the_model(seen: dict[int, list[Row]], in_steps: Destination) -> None:
    found: dict[int, list[tuple[object, ...]]] = {patient: [] for patient in PATIENTS}
    for patient, *version in in_steps.query(f"""
        select patient_id, {", ".join(COLUMNS)}, epoch_us(valid_from), epoch_us(valid_to), ended_by,
          epoch_us(observed_at), epoch_us(sync_started_at), epoch_us(updated_at)
        from main.patients_history where patient_id < {PATIENTS.stop} order by patient_id, version_number
    """):
        found[patient].append(tuple(version))
    assert found == {
        patient: [
            (*one.content, one.valid_from, one.valid_to, one.ended_by, one.observed, one.run, one.updated)
            for one in versions([row.observation for row in seen[patient]], ENDED)
        ]
        for patient in PATIENTS
    }


def test_after_a_full_refresh_the_patients_are_what_it_read(seen: dict[int, list[Row]], in_steps: Destination) -> None:
    refresh = ENDED[-1]
    assert refresh.is_full
    expected = {}
    restored = 0
    for patient in PATIENTS:
        observations = [row.observation for row in seen[patient]]
        read = {replace(one, observed=0) for one in observations if one.run == refresh.started}
        if len(read) == 1:
            [one] = read
            expected[patient] = None if one.is_deletion else (*one.content, one.updated)
            restored += any((one.updated or 0) < (other.updated or 0) for other in observations)
    assert restored > 20
    found = {
        patient: tuple(row)
        for patient, *row in in_steps.query(
            f"select patient_id, {', '.join(COLUMNS)}, epoch_us(updated_at) from main.patients"
        )
    }
    # a null can be unknown
    for patient, values in expected.items():
        shown = found.get(patient)
        assert (shown is None) == (values is None), patient
        assert all(value in (None, other) for value, other in zip(values or (), shown or (), strict=True)), patient


def test_the_changes_are_the_fields_in_which_adjoining_versions_differ(
    seen: dict[int, list[Row]], in_steps: Destination
) -> None:
    expected = [
        (patient, number, field, old, new, after.valid_from)
        for patient in PATIENTS
        for history in [versions([row.observation for row in seen[patient]], ENDED)]
        for number, (before, after) in enumerate(pairwise(history), start=2)
        for field, old, new in zip(COLUMNS, before.content, after.content, strict=True)
        if before.ended_by == "change" and old != new
    ]
    found = in_steps.query(f"""
        select patient_id, version_number, field, old, new, epoch_us(changed_at)
        from main.patient_changes where patient_id < {PATIENTS.stop}
    """)
    assert Counter(found) == Counter(expected)


def test_a_rebuilt_history_is_the_same(in_steps: Destination, tmp_path: Path, dbt: Dbt) -> None:
    copy = in_steps.copy(tmp_path / "copy.duckdb")
    dbt.build(copy.path, "--full-refresh")
    assert copy.rows("main.patients_history") == in_steps.rows("main.patients_history")


def test_a_history_built_at_once_is_the_same(rows: list[Row], in_steps: Destination, tmp_path: Path, dbt: Dbt) -> None:
    destination = Destination(tmp_path / "destination.duckdb")
    dbt.build(destination.path)
    append(destination.path, rows, ENDED, 0)
    dbt.build(destination.path)
    assert destination.rows("main.patients_history") == in_steps.rows("main.patients_history")


def test_a_compacted_raw_has_the_same_history(rows: list[Row], in_steps: Destination, tmp_path: Path, dbt: Dbt) -> None:
    destination = Destination(tmp_path / "destination.duckdb")
    dbt.build(destination.path)
    for number in range(4):
        append(destination.path, [row for row in rows if row.build == number], runs_of(number), number)
        code, printed = dbt.run(destination.path, "run-operation", "compact_raw")
        assert code == 0, printed
        dbt.build(destination.path)
    kept = destination.query("select count(*) from raw.patients")[0][0]
    assert len({(row.patient, row.observation.content) for row in rows}) < kept < 0.9 * len(rows)
    history = f"(from main.patients_history where patient_id not between {TIED.start} and {TIED.stop - 1})"
    assert destination.rows(history) == in_steps.rows(history)


@pytest.mark.parametrize("minute", random.Random(5).sample(range(len(RUNS) * 60), 12))  # noqa: S311 -- no secret
def test_the_patients_as_of_an_instant_are_those_of_a_copy_made_then(
    seen: dict[int, list[Row]], in_steps: Destination, minute: int
) -> None:
    instant = minute * MINUTE
    copy = set()
    for patient in TRUE:
        changes = [row.observation for row in seen[patient]]
        index = bisect_right(changes, instant, key=lambda one: one.observed if one.updated is None else one.updated)
        if index and not changes[index - 1].is_deletion:
            copy.add((patient, *changes[index - 1].content[:2]))
    assert copy == set(
        in_steps.query(f"""
            select patient_id, first_name, last_name from main.patients_as_of(make_timestamptz({instant}))
            where patient_id >= {TRUE.start}
        """)
    )
