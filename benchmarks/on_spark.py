"""What builds of the history cost on a Spark cluster of two workers with 2 GB each, at two sizes of raw."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import click
import duckdb
import psutil
from spark_cluster import Spark, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = {5_000_000: 256, 20_000_000: 1_024}
"""Observations, and in how many buckets: about as many rows in each."""
FIRST = "first build"
CHANGES = 1_000
TOUCHED = 16
"""Buckets that hold all patients who change."""
SETTINGS = {"spark.executor.memory": "1400m", "spark.driver.memory": "1g", "spark.eventLog.enabled": "true"}

OBSERVATIONS = """
copy (
  select
    id, 'patient.' || id || '@example.org' as email, 'First ' || id % 5000 as first_name,
    'Last ' || id % 70000 || '-' || {visit} as last_name,
    cast(date '1930-01-01' + cast(id % 30000 as integer) as varchar) as date_of_birth,
    timestamp '2024-01-01' + to_seconds(id) as created_at, timestamp '2024-06-01' + to_days({visit}) as updated_at,
    timestamp '2025-01-01' + to_days({visit}) as _sdc_extracted_at
  from ({ids}) as ids (id)
) to '{file}' (format json)
"""


@dataclass(frozen=True)
class Cost:
    """What a `dbt run` took.

    Attributes:
        seconds: Of wall time.
        megabytes: Of memory of the larger executor, at most.
        rows: That the executors read from files.
        written: Buckets of the history that were written.
    """

    seconds: float
    megabytes: float
    rows: int
    written: int


def observe(spark: Spark, ids: str, *, visit: int) -> None:
    """Add a file to raw with an observation of each patient that a query names, changed with each visit."""
    file = spark.raw / f"patients-2025010{visit + 1}T000000.jsonl"
    duckdb.execute(OBSERVATIONS.format(visit=visit, ids=ids, file=file))


def build(spark: Spark) -> Cost:
    """Run dbt and return what it cost."""
    events = spark.folder / "events"
    before = set(events.iterdir())
    started = time.time_ns()
    peak = [0]
    is_done = Event()
    watch = Thread(target=watch_executors, args=(peak, is_done))
    watch.start()
    begin = time.monotonic()
    try:
        spark.dbt("run")
    finally:
        is_done.set()
        watch.join()
    seconds = time.monotonic() - begin
    (events_of_run,) = set(events.iterdir()) - before
    written = {file.parent for file in spark.files("main.patients_history") if file.stat().st_mtime_ns > started}
    return Cost(seconds, peak[0] / 2**20, rows_read(events_of_run), len(written))


def watch_executors(peak: list[int], is_done: Event) -> None:
    """Note the largest resident set of an executor of the cluster."""
    while not is_done.wait(1):
        for process in psutil.Process().children(recursive=True):
            try:
                if "CoarseGrainedExecutorBackend" in " ".join(process.cmdline()):
                    peak[0] = max(peak[0], process.memory_info().rss)
            except psutil.NoSuchProcess:
                continue


def rows_read(events: Path) -> int:
    """Return how many rows the tasks of an application read from files, by its event log."""
    total = 0
    for file in sorted(events.rglob("events_*")) if events.is_dir() else [events]:
        for line in file.read_text().splitlines():
            event = json.loads(line)
            if event["Event"] == "SparkListenerTaskEnd" and "Task Metrics" in event:
                total += event["Task Metrics"]["Input Metrics"]["Records Read"]
    return total


def builds(spark: Spark, rows: int) -> Iterator[tuple[str, Cost]]:
    """Build a history, and yield the cost of each build."""
    patients = rows * 5 // 7
    spark.configure(
        SETTINGS | {"spark.eventLog.dir": f"file:{spark.folder}/events", "spark.eventLog.compress": "false"}
    )
    (spark.folder / "events").mkdir()
    observe(spark, f"from range(1, {patients + 1})", visit=0)
    observe(spark, f"from range(1, {rows - patients + 1})", visit=1)
    yield FIRST, build(spark)
    files = spark.glob("main.patients_history")
    in_few_buckets = f"""
        select patient_id from read_parquet('{files}', hive_partitioning = true)
        where patient_bucket < {TOUCHED} group by patient_id order by hash(patient_id) limit {CHANGES}
    """  # noqa: S608 (constants)
    observe(spark, in_few_buckets, visit=2)
    yield f"{CHANGES:,} changes in {TOUCHED} buckets", build(spark)
    anywhere = f"select row * {patients // CHANGES} from range(1, {CHANGES + 1}) as numbers (row)"  # noqa: S608 (constants)
    observe(spark, anywhere, visit=3)
    yield f"{CHANGES:,} changes anywhere", build(spark)


def main() -> None:
    """Print the costs at each size as they come, and how the first builds compare."""
    click.echo(f"{'observations':>12}  {'dbt run':<32}{'s':>6}{'MB':>7}{'rows read':>13}{'buckets written':>17}")
    seconds_per_row = []
    for rows, buckets in SIZES.items():
        with tempfile.TemporaryDirectory() as folder, cluster(Path(folder) / "cluster") as master:
            for name, cost in builds(Spark(Path(folder) / "spark", master, buckets), rows):
                cells = f"{cost.seconds:>6.0f}{cost.megabytes:>7.0f}{cost.rows:>13,}{cost.written:>17}"
                click.echo(f"{rows:>12,}  {name:<32}{cells}")
                if name == FIRST:
                    seconds_per_row.append(cost.seconds / rows)
    small, large = seconds_per_row
    click.echo(f"time per row of the first build, large to small: {large / small:.2f}")


if __name__ == "__main__":
    main()
