"""Measure builds of the history, without extraction, after the same changes to a large and a small collection."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path

import duckdb
from measure import PROJECT, Cost, measure, succeed
from runs import DBT_PYTHON
from session import BUILD, FIRST_BUILD, Bench

CHANGES = 1_000
SMALL = 100
"""How many times smaller the small collection is."""

OBSERVATIONS = """
insert into raw.patients by name
select
  id, 'patient.' || id || '@example.org' as email, 'First ' || id % 5000 as first_name,
  'Last ' || id % 70000 || '-' || $visit as last_name, date '1930-01-01' + cast(id % 30000 as integer) as date_of_birth,
  timestamptz '2024-01-01' + to_seconds(id) as created_at,
  timestamptz '2024-06-01' + to_days($visit) as updated_at,
  $at as _sdc_sync_started_at, $at as _sdc_extracted_at, $at as _sdc_batched_at
from (select $step * row as id from range(1, $rows + 1) as numbers (row))
"""
SYNC = """
insert into raw.syncs by name
select
  $at as started_at, $at as ended_at, if($visit = 0, 'first_load', 'changes') as kind,
  $total as total_items_before, $total as total_items_after, $rows as records, $at as _sdc_batched_at
"""


def transform(bench: Bench) -> None:
    """Measure a first build of each collection, then builds after changes in turn."""
    sizes = [max(CHANGES, bench.sizes[-1] // SMALL), bench.sizes[-1]]
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        paths = {patients: Path(folder) / str(patients) / "patients.duckdb" for patients in sizes}
        for patients, path in paths.items():
            path.parent.mkdir()
            # creates the raw tables
            build(path)
            observe(path, patients, total=patients, visit=0)
            # these have a second version
            observe(path, patients * 2 // 5, total=patients, visit=1)
            bench.record(what=FIRST_BUILD, patients=patients, **asdict(build(path)))
        for visit in range(2, 2 + bench.repeat):
            for patients, path in paths.items():
                observe(path, CHANGES, total=patients, visit=visit, step=patients // CHANGES)
                bench.record(what=BUILD, patients=patients, **asdict(build(path)))


def observe(path: Path, rows: int, *, total: int, visit: int, step: int = 1) -> None:
    """Append a sync to raw with an observation of every `step`-th patient, changed since the last visit."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'")
        at = f"timestamptz '2025-01-{visit + 1:02} 00:00:00+00'"
        connection.execute(OBSERVATIONS.replace("$at", at), {"rows": rows, "visit": visit, "step": step})
        connection.execute(SYNC.replace("$at", at), {"rows": rows, "visit": visit, "total": total})


def build(path: Path) -> Cost:
    """Build and test the history, as `dbt:build` does.

    Raises:
        RuntimeError: It failed, or there was nothing to build.
    """
    project, log = PROJECT / "transform", path.with_suffix(".log")
    environment = {
        "DBT_DUCKDB_PATH": str(path),
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
        "DBT_TARGET_PATH": str(path.parent / "dbt"),
        "DBT_LOG_PATH": str(path.parent / "logs"),
    }
    cost = succeed(measure([DBT_PYTHON, project / "build.py"], environment, log=log))
    if "Nothing to build" in log.read_text():
        raise RuntimeError("There was nothing to build")
    return cost
