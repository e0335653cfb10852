"""Measure builds of the history on a Spark cluster of two workers at two sizes of raw."""  # noqa: INP001 -- a script

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click
import duckdb
from cluster import VENV, cluster, configure
from support import run

SIZES = (1_000_000, 4_000_000)
OBSERVATIONS = """
copy (
  select
    id, 'patient.' || id || '@example.org' as email, 'First ' || id % 5000 as first_name,
    'Last ' || id % 70000 || '-' || visit as last_name,
    date '1930-01-01' + cast(id % 30000 as integer) as date_of_birth,
    timestamptz '2024-01-01' + to_seconds(id) as created_at,
    timestamptz '2024-06-01' + to_days(visit) as updated_at,
    timestamptz '2025-01-01' + to_days(visit) as _sdc_extracted_at, _sdc_extracted_at as _sdc_batched_at
  from range({patients}) as patients (id), range(2) as visits (visit)
) to '{file}' (format json)
"""


def main() -> None:
    """Print the seconds of each build, and how they compare by row."""
    seconds = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder, cluster(Path(folder) / "cluster") as master:
            environment = configure(Path(folder) / "spark", master)
            duckdb.execute(OBSERVATIONS.format(patients=size // 2, file=f"{folder}/patients-1.jsonl"))
            begin = time.monotonic()
            dbt = (VENV / "bin/dbt", "run", "--project-dir", "spark", "--profiles-dir", "spark")
            # dbt imports every module that is called dbt_*
            outcome = run(*dbt, DBT_SPARK_RAW=folder, PYTHONPATH="", **environment)
            if outcome.returncode:
                raise click.ClickException(outcome.stdout)
            seconds.append(time.monotonic() - begin)
        click.echo(f"{size:>12,} observations {seconds[-1]:>6.0f} s")
    click.echo(f"time per row, large to small: {seconds[1] / seconds[0] * SIZES[0] / SIZES[1]:.2f}")


if __name__ == "__main__":
    main()
