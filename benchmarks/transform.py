"""What a build of the history costs at two sizes of the collection: time and memory of whole `dbt` calls."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

PROJECT = Path(__file__).parents[1]
DBT = PROJECT / ".meltano/utilities/dbt/venv/bin/dbt"
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


@dataclass(frozen=True)
class Cost:
    """What a command took.

    Attributes:
        seconds: Of wall time.
        megabytes: Of memory, at most.
    """

    seconds: float
    megabytes: float


def dbt(path: Path, *arguments: str) -> Cost:
    """Run dbt on a DuckDB file.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    environment = os.environ | {
        "DBT_DUCKDB_PATH": str(path),
        "DBT_TARGET_PATH": str(path.parent / "dbt"),
        "DBT_LOG_PATH": str(path.parent / "logs"),
    }
    folder = PROJECT / "transform"
    command: list[str | Path] = [DBT, "--quiet", *arguments, "--project-dir", folder, "--profiles-dir", folder]
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if code := os.waitstatus_to_exitcode(status):
        raise subprocess.CalledProcessError(code, command)
    return Cost(time.monotonic() - started, usage.ru_maxrss / 1024)


def append(path: Path, rows: int, *, visit: int, step: int = 1) -> None:
    """Append an observation of every `step`-th patient to the log, `rows` in all, changed with each visit."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(OBSERVATIONS, {"rows": rows, "visit": visit, "step": step})


def measure(path: Path, patients: int, log: int) -> dict[str, Cost]:
    """Build a history and return the costs of its builds."""
    dbt(path, "run")
    append(path, patients, visit=0)
    append(path, log - patients, visit=1)
    build = ("build", "--exclude-resource-type", "unit_test")
    costs = {"first build": dbt(path, *build)}
    append(path, CHANGES, visit=2, step=patients // CHANGES)
    costs[f"{CHANGES:,} changes"] = dbt(path, *build)
    costs["rebuild"] = dbt(path, *build, "--full-refresh")
    return costs


def main() -> None:
    """Print the costs at each size, and how they compare."""
    results = []
    for patients, log in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(folder) / "patients.duckdb", patients, log))
    small, large = results
    sizes = [f"{patients:,} patients" for patients in SIZES]
    sys.stdout.write(f"{'dbt build':<16}{sizes[0]:>24}{sizes[1]:>24}{'ratio':>8}\n")
    for name, cost in small.items():
        cells = [f"{one.seconds:.1f} s {one.megabytes:,.0f} MB" for one in (cost, large[name])]
        ratio = large[name].seconds / cost.seconds
        sys.stdout.write(f"{name:<16}{cells[0]:>24}{cells[1]:>24}{ratio:>8.2f}\n")


if __name__ == "__main__":
    main()
