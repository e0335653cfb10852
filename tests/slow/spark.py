"""The same tables on a Spark cluster as in DuckDB. `make test-spark` runs this file."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from history_model import DAY, Run
from spark_cluster import Spark, cluster
from support import PROJECT, Destination, bundled_api, run
from test_history_property import (
    COLUMNS,
    HOUR,
    INSURANCE,
    PATIENTS,
    RUNS,
    TIED,
    TRUE,
    WARD,
    Row,
    append,
    emitted_columns,
    rows_of,
    runs_of,
    true_rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dbt_process import Dbt

STEPS = range(4)
BUILT = (1, 3)
"""The steps after which Spark builds, too: a start of it takes longer than a build."""
SETTINGS = {"spark.sql.shuffle.partitions": "4", "spark.executor.memory": "1g", "spark.driver.memory": "1g"}
BUCKETS = 32
CHANGES = 1_000


@dataclass(frozen=True)
class Replicas:
    """The same observations built in both engines.

    Attributes:
        spark: What Spark has after the last step.
        duckdb: DuckDB's file after each step.
        histories: The files of Spark's history after each step that it built.
    """

    spark: Spark
    duckdb: list[Destination]
    histories: dict[int, str]


def instant(microseconds: int | None) -> str | None:
    """Return an instant as the tap writes it."""
    if microseconds is None:
        return None
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")


def add_to_raw(spark: Spark, step: int, rows: list[Row], runs: list[Run]) -> None:
    """Add the files that the loader of a run would write."""
    patients: list[dict[str, Any]] = []
    for row in random.Random(step).sample(rows, len(rows)):  # noqa: S311 -- no secret
        one = row.observation
        record = {
            "id": row.patient,
            "updated_at": instant(one.updated),
            "_sdc_deleted_at": instant(one.deleted),
            "_sdc_extracted_at": instant(one.observed),
        }
        emitted = (True, True, one.observed // HOUR in INSURANCE, one.observed // HOUR in WARD)
        names = (name.capitalize() if name == "insurance" else name for name in COLUMNS)
        values = zip(names, one.content, emitted, strict=True)
        patients.append(record | {name: value for name, value, is_emitted in values if is_emitted})
    syncs = [
        {
            "started_at": instant(run.started),
            "ended_at": instant(run.ended),
            "columns": emitted_columns(run),
            "kind": "full" if run.is_full else "changes",
            "_sdc_extracted_at": instant(run.started),
        }
        for run in runs
    ]
    for stream, records in (("patients", patients), ("syncs", syncs)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        # what a kill leaves
        (spark.raw / f"{stream}-2024010{step}T000000.jsonl").write_text(lines + '{"id": 1, "first_')


def assert_same(destination: Destination, table: str, files: str) -> None:
    """Compare a table of DuckDB's file with Parquet files, row for row."""
    types = destination.columns(table)
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        found = connection.sql(f"from read_parquet('{files}', hive_partitioning = false, union_by_name = true)")
        # Spark knows a column from the first step on that has it
        missing = [name for name in types if name not in found.columns]
        assert set(missing) <= {"insurance", "ward"}
        for name in missing:
            assert connection.sql(f"select count({name}) from {table}").fetchone() == (0,)
        assert set(found.columns) <= set(types)
        columns = ", ".join(f'cast("{name}" as {types[name]}) as "{name}"' for name in found.columns)
        assert (
            connection.sql(f"select count(*) from {table}").fetchone()
            == connection.sql("select count(*) from found").fetchone()
        )
        for one, other in ((table, "found"), ("found", table)):
            difference = f"select {columns} from {one} except all select {columns} from {other}"
            assert connection.sql(f"{difference} limit 5").fetchall() == []


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rng = random.Random(4)  # noqa: S311 -- no secret
    seen = [rows_of(patient, rng) for patient in (*PATIENTS, *TIED)] + [true_rows_of(patient, rng) for patient in TRUE]
    return [row for rows in seen for row in rows]


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("cluster") / "workers") as url:
        yield url


@pytest.fixture(scope="module")
def replicas(rows: list[Row], master: str, tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Replicas:
    folder = tmp_path_factory.mktemp("replicas")
    destination = Destination(folder / "destination.duckdb")
    dbt.build(destination.path)
    spark = Spark(folder / "spark", master, BUCKETS)
    spark.configure(SETTINGS)
    copies, histories = [], {}
    for step in STEPS:
        new = [row for row in rows if row.build == step]
        append(destination.path, new, runs_of(step), step)
        dbt.build(destination.path)
        copies.append(destination.copy(folder / f"{step}.duckdb"))
        add_to_raw(spark, step, new, runs_of(step))
        if step not in BUILT:
            continue
        # the data tests look at all that was built since they last passed
        command = ["build", "--exclude-resource-type", "unit_test"] if step == STEPS[-1] else ["run"]
        spark.dbt(*command)
        shutil.copytree(folder / "spark/warehouse/main.db/patients_history", folder / str(step))
        histories[step] = f"{folder / str(step)}/*/*.parquet"
    return Replicas(spark, copies, histories)


@pytest.mark.parametrize("step", BUILT)
def test_the_history_is_that_of_duckdb(replicas: Replicas, step: int) -> None:
    assert_same(replicas.duckdb[step], "main.patients_history", replicas.histories[step])


def test_the_views_are_those_of_duckdb(replicas: Replicas) -> None:
    tables = ["main.patients", "main.patient_changes", "main.syncs"]
    tables += [f"main.patients_as_of('1970-01-01 0{hour}:30')" for hour in (1, 4, 7)]
    files = replicas.spark.export({str(number): f"select * from {table}" for number, table in enumerate(tables)})
    for number, table in enumerate(tables):
        assert_same(replicas.duckdb[-1], table, files[str(number)])


def test_a_run_writes_the_buckets_of_changed_patients_anew_and_no_others(replicas: Replicas) -> None:
    spark = replicas.spark
    tables = ("raw.patients", "main.patients_history")
    before = {table: written(spark, table) for table in tables}
    by_bucket = spark.history("select patient_id, patient_bucket from history group by all order by patient_bucket")
    changed = by_bucket[:CHANGES]
    touched = {bucket for _, bucket in changed}
    # later than all instants of the others
    now = instant(len(RUNS) * HOUR + 4 * DAY)
    lines = [
        json.dumps({"id": patient, "last_name": "Changed", "updated_at": now, "_sdc_extracted_at": now})
        for patient, _ in changed
    ]
    (spark.raw / "patients-20240109T000000.jsonl").write_text("\n".join(lines) + "\n")
    spark.dbt("run")
    assert spark.history("select count(*) from history where last_name = 'Changed' and is_current") == [(CHANGES,)]
    for table in tables:
        after = written(spark, table)
        assert {bucket for bucket in after if after[bucket] != before[table].get(bucket)} == touched
        assert len(touched) < len(after) / 2


def written(spark: Spark, table: str) -> dict[int, set[tuple[str, int]]]:
    """Return for each bucket of a table its files and when they were written."""
    found: dict[int, set[tuple[str, int]]] = {}
    for file in spark.files(table):
        bucket = int(file.parent.name.removeprefix("patient_bucket="))
        found.setdefault(bucket, set()).add((file.name, file.stat().st_mtime_ns))
    return found


def test_a_rebuilt_history_is_the_same(replicas: Replicas) -> None:
    query = """
        select patient_id, patient_version_id, first_name, last_name, insurance, ward, ended_by, is_current,
          patient_bucket, cast(columns('_at$|^valid_') as varchar)
        from history
    """
    before = Counter(replicas.spark.history(query))
    replicas.spark.dbt("run", "--full-refresh")
    assert Counter(replicas.spark.history(query)) == before


def test_a_history_that_was_moved_is_the_same_and_goes_on(
    replicas: Replicas, rows: list[Row], master: str, tmp_path: Path
) -> None:
    spark = Spark(tmp_path / "spark", master, BUCKETS)
    spark.configure(SETTINGS)
    *_, before, after = STEPS
    with duckdb.connect(str(replicas.duckdb[before].path)) as connection:
        for table in ("patients", "rejected_records", "syncs"):
            connection.execute(f"copy raw.{table} to '{spark.raw / table}.parquet'")
    spark.dbt("run")
    assert_same(replicas.duckdb[before], "main.patients_history", spark.glob("main.patients_history"))

    add_to_raw(spark, after, [row for row in rows if row.build == after], runs_of(after))
    spark.dbt("run")
    assert_same(replicas.duckdb[after], "main.patients_history", spark.glob("main.patients_history"))


def test_meltano_adds_to_raw_and_builds_from_it(master: str, tmp_path: Path) -> None:
    spark = Spark(tmp_path / "spark", master, BUCKETS)
    spark.configure(SETTINGS)
    environment = spark.environment | {
        "TOUBIB_RAW": str(spark.raw),
        "MELTANO_DATABASE_URI": f"sqlite:///{tmp_path}/meltano.db",
        "XDG_STATE_HOME": str(tmp_path),
    }
    del environment["DBT_SPARK_RAW"]
    meltano = (PROJECT / ".venv/bin/meltano", "--environment=spark", "run", "tap-toubib", "target-jsonl")
    with bundled_api(tmp_path / "toubib.sqlite", 130) as api:
        outcome = run(*meltano, API_BASEURL=api.url, **environment)
        assert outcome.returncode == 0, outcome.stdout
        api.update(3, last_name="Changed")
        # the names of the loader's files have seconds
        time.sleep(1)
        outcome = run(*meltano, "dbt-spark:build", API_BASEURL=api.url, **environment)
        assert outcome.returncode == 0, outcome.stdout
        patients = api.patients()
    current = spark.history("select patient_id, email, last_name from history where is_current")
    assert sorted(current) == [(number, one["email"], one["last_name"]) for number, one in sorted(patients.items())]
    assert spark.history("select patient_id, last_name from history where version_number = 2") == [(3, "Changed")]
