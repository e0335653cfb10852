"""Generated observations of patients, and how they are appended to raw."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import duckdb
from history_model import DAY, Observation, Run

if TYPE_CHECKING:
    from pathlib import Path

RUNS = range(8)
BUILD_OF_RUN = (0, 0, 1, 1, 2, 2, 3, 3)
"""The earliest build that follows a run."""
KILLED = 3
LATE = 2
"""The row of this run in raw.syncs arrives one build later than its observations."""
FULL = {0, 2, KILLED, 5, 7}
AHEAD = 4
"""The clock of this run's machine was two and a half hours ahead."""
INSURANCE = {KILLED, 4, 5, 7}
"""The runs that emitted the column."""
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
"""Patients that are compared with the model."""
TIED = range(2_000, 2_500)
"""Patients seen with different contents at one instant: their order is not defined, but always the same."""
TRUE = range(2_500, 3_000)
"""Patients with a correct `updated_at`, each change of which a run saw."""


@dataclass(frozen=True)
class Row:
    """An observation of a patient and the build before which it was loaded."""

    patient: int
    build: int
    observation: Observation


def generate() -> dict[int, list[Row]]:
    """Return the observations of each patient."""
    rng = random.Random(4)  # noqa: S311 -- no secret
    return {patient: rows_of(patient, rng) for patient in (*PATIENTS, *TIED)} | {
        patient: true_rows_of(patient, rng) for patient in TRUE
    }


def rows_of(patient: int, rng: random.Random) -> list[Row]:
    """Generate the observations of a patient, loaded in that order; some are repeated."""
    rows: list[Row] = []
    build = 0
    observed = sorted(rng.sample(range(len(RUNS) * 60), rng.randint(1, 9)))
    if patient in TIED:
        observed = sorted(rng.choices(observed, k=len(observed)))
    names = rng.sample(NAMES, rng.randint(1, 3))
    updated = previous = None
    for minute in observed:
        run = minute // 60
        if minute != previous:  # later observations were loaded later
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
    """Generate observations of a patient, each change of which was seen before the next one."""
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
    """Append rows in random order, and the rows of runs in raw.syncs."""
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
