"""What a build of the history costs at two sizes of the collection: time and memory of whole `dbt` calls."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
from measure import PROJECT, Cost, measure
from parts import DBT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench import Bench

CHANGES = 1_000
SIZES = {50_000: 70_000, 5_000_000: 7_000_000}
"""Patients, and rows of log to begin with: some of them have changed."""

OBSERVATIONS = """
insert into raw.patients (
  id, email, first_name, last_name, date_of_birth, created_at, updated_at, _sdc_extracted_at, _sdc_batched_at
)
select
  id, 'patient.' || id || '@example.org', 'First ' || id % 5000, 'Last ' || id % 70000 || '-' || $visit,
  cast(date '1930-01-01' + cast(id % 30000 as integer) as varchar), timestamp '2024-01-01' + to_seconds(id),
  timestamp '2024-06-01' + to_days(cast($visit as integer)), timestamp '2025-01-01' + to_days(cast($visit as integer)),
  timestamp '2025-01-01' + to_days(cast($visit as integer))
from (select $step * row as id from range(1, $rows + 1) as numbers (row))
"""


def dbt(path: Path, *arguments: str) -> Cost:
    """Run dbt on a DuckDB file.

    Raises:
        RuntimeError: It failed.
    """
    environment = {
        "DBT_DUCKDB_PATH": str(path),
        "DBT_TARGET_PATH": str(path.parent / "dbt"),
        "DBT_LOG_PATH": str(path.parent / "logs"),
    }
    folder = PROJECT / "transform"
    command: list[str | Path] = [DBT, "--quiet", *arguments, "--project-dir", folder, "--profiles-dir", folder]
    cost = measure(command, environment, log=path.with_suffix(".log"))
    if cost.exit_code:
        raise RuntimeError(path.with_suffix(".log").read_text())
    return cost


def append(path: Path, rows: int, *, visit: int, step: int = 1) -> None:
    """Append an observation of every `step`-th patient to raw, `rows` in all, changed with each visit."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(OBSERVATIONS, {"rows": rows, "visit": visit, "step": step})


def builds(path: Path, patients: int, log: int) -> Iterator[tuple[str, Cost]]:
    """Build a history, and yield the cost of each build."""
    dbt(path, "run")
    append(path, patients, visit=0)
    append(path, log - patients, visit=1)
    build = ("build", "--exclude-resource-type", "unit_test")
    yield "first build", dbt(path, *build)
    append(path, CHANGES, visit=2, step=patients // CHANGES)
    yield f"{CHANGES:,} changes", dbt(path, *build)
    yield "rebuild", dbt(path, *build, "--full-refresh")


def transform(bench: Bench) -> None:
    """Measure the builds at each size."""
    for patients, log in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            for what, cost in builds(Path(folder) / "patients.duckdb", patients, log):
                bench.record(what=what, contender="dbt build", patients=patients, **asdict(cost))
