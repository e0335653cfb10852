"""What a build of the history costs at two sizes of the collection: whole `dbt` calls, each after the same changes."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import duckdb
from measure import PROJECT, Cost, measure
from session import Bench
from startups import DBT

CHANGES = 1_000
SHARES = (0.05, 5)
"""Sizes, by the largest of the services: what they cannot show in reasonable time."""

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


def transform(bench: Bench) -> None:
    """Measure builds at each size, in turn."""
    build = ("build", "--exclude-resource-type", "unit_test")
    sizes = [max(CHANGES, int(share * bench.sizes[-1])) for share in SHARES]
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        paths = [Path(folder) / str(patients) / "patients.duckdb" for patients in sizes]
        for patients, path in zip(sizes, paths, strict=True):
            path.parent.mkdir()
            dbt(path, "run")
            append(path, patients, visit=0)
            # so many have changed since
            append(path, patients * 2 // 5, visit=1)
            bench.record(what="first build", patients=patients, **asdict(dbt(path, *build)))
        for repeat in range(bench.repeat):
            for patients, path in zip(sizes, paths, strict=True):
                append(path, CHANGES, visit=2 + repeat, step=patients // CHANGES)
                bench.record(what=f"build after {CHANGES:,} changes", patients=patients, **asdict(dbt(path, *build)))
