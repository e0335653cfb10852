"""Generated observations: the history equals the model's, however builds divide them."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import duckdb
import pytest
from history_model import versions
from observations import COLUMNS, ENDED, MINUTE, PATIENTS, RUNS, TIED, TRUE, Row, append, generate, runs_of
from support import Destination

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_process import Dbt


@pytest.fixture(scope="module")
def seen() -> dict[int, list[Row]]:
    """The observations of each patient."""
    return generate()


@pytest.fixture(scope="module")
def rows(seen: dict[int, list[Row]]) -> list[Row]:
    return [row for rows in seen.values() for row in rows]


@pytest.fixture(scope="module")
def in_steps(rows: list[Row], tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Destination:
    """A history from four builds."""
    destination = Destination(tmp_path_factory.mktemp("steps") / "destination.duckdb")
    dbt.build(destination.path)
    for number in range(4):
        append(destination.path, [row for row in rows if row.build == number], runs_of(number), number)
        dbt.build(destination.path)
    return destination


def test_the_history_equals_that_of_the_model(seen: dict[int, list[Row]], in_steps: Destination) -> None:
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


def test_a_history_rebuilt_from_shuffled_and_repeated_rows_is_the_same(
    in_steps: Destination, tmp_path: Path, dbt: Dbt
) -> None:
    copy = in_steps.copy(tmp_path / "copy.duckdb")
    with duckdb.connect(str(copy.path)) as connection:
        twice = "(from raw.patients union all from raw.patients)"
        connection.execute(f"create or replace table raw.patients as from {twice} order by random()")
    dbt.build(copy.path, "--full-refresh")
    assert copy.rows("main.patients_history") == in_steps.rows("main.patients_history")


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
def test_the_patients_as_of_an_instant_equal_a_copy_made_then(
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
