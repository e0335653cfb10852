"""The same tables on a Spark cluster as in DuckDB, row for row. `make test-spark` runs this file."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import duckdb
import pytest
from cluster import VENV, cluster, configure
from dbt_process import Dbt
from observations import TIED, append, generate, runs_of
from support import PROJECT, Destination, bundled_api, run

if TYPE_CHECKING:
    from pathlib import Path

STEPS = range(4)
TABLES = {
    "patients_history": "main.patients_history",
    "patients": "main.patients",
    "patient_changes": "main.patient_changes",
    "syncs": "main.syncs",
    **{f"as_of_{hour}": f"main.patients_as_of('1970-01-01 0{hour}:30')" for hour in (1, 4, 7)},
}


@pytest.fixture(scope="module")
def in_duckdb(tmp_path_factory: pytest.TempPathFactory) -> list[Destination]:
    """The DuckDB file after each build."""
    # each engine orders ties by itself
    seen = [rows for patient, rows in generate().items() if patient not in TIED]
    folder = tmp_path_factory.mktemp("duckdb")
    destination = Destination(folder / "destination.duckdb")
    with Dbt(folder) as dbt:
        dbt.build(destination.path)
        copies = []
        for step in STEPS:
            append(destination.path, [row for rows in seen for row in rows if row.build == step], runs_of(step), step)
            dbt.build(destination.path)
            copies.append(destination.copy(folder / f"{step}.duckdb"))
    return copies


def add_to_raw(folder: Path, destination: Destination, since: Destination | None = None) -> None:
    """Add a file for each stream with the rows of raw in a DuckDB file, or only the rows that another file lacks."""
    with duckdb.connect(str(destination.path), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for table in ("patients", "rejected_records", "syncs"):
            new = f"from raw.{table}"
            if since:
                connection.execute(f"attach if not exists '{since.path}' as earlier (read_only)")
                new += f" where _sdc_batched_at > (select max(_sdc_batched_at) from earlier.raw.{table})"
            file = folder / f"{table}-{destination.path.stem}.jsonl"
            connection.execute(f"copy ({new}) to '{file}' (format json)")
            with file.open("a") as lines:
                lines.write('{"id": 1, "first_')  # as after a kill


@pytest.fixture(scope="module")
def in_spark(in_duckdb: list[Destination], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The tables as files: of a history that was moved from DuckDB, and after the next run."""
    folder = tmp_path_factory.mktemp("spark")
    *_, before, after = in_duckdb
    moved, moved_on = folder / "moved", folder / "moved_on"
    (moved / "raw").mkdir(parents=True)
    add_to_raw(moved / "raw", before)
    shutil.copytree(moved, moved_on)
    add_to_raw(moved_on / "raw", after, since=before)
    build_and_export = PROJECT / "spark/tests/build_and_export.py"
    with cluster(folder / "cluster") as master:
        environment = configure(folder / "spark", master)
        command = (VENV / "bin/python", build_and_export, json.dumps(TABLES), moved / "raw", moved_on / "raw")
        outcome = run(*command, **environment)
    assert outcome.returncode == 0, outcome.stdout
    return {"moved": moved / "tables", "after the next run": moved_on / "tables"}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(("when", "step"), [("moved", -2), ("after the next run", -1)])
def test_a_table_has_the_rows_of_duckdb(
    in_duckdb: list[Destination], in_spark: dict[str, Path], when: str, step: int, table: str
) -> None:
    assert_same(in_duckdb[step], TABLES[table], f"{in_spark[when] / table}/*.parquet")


def assert_same(destination: Destination, table: str, files: str) -> None:
    """Compare a table of DuckDB with Parquet files, row for row."""
    types = destination.columns(table)
    with duckdb.connect(str(destination.path), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        found = connection.sql(f"from read_parquet('{files}')")
        assert set(found.columns) == set(types)
        assert connection.sql(f"select count(*) from {table}").fetchone() == (len(found),)
        columns = ", ".join(f'cast("{name}" as {types[name]}) as "{name}"' for name in types)
        for one, other in ((table, "found"), ("found", table)):
            difference = f"select {columns} from {one} except all select {columns} from {other}"
            assert connection.sql(f"{difference} limit 5").fetchall() == []


def test_meltano_adds_to_raw_and_builds_from_it(tmp_path: Path) -> None:
    environment = configure(tmp_path / "spark") | {
        "TOUBIB_RAW": str(tmp_path / "raw"),
        "MELTANO_DATABASE_URI": f"sqlite:///{tmp_path}/meltano.db",
    }
    (tmp_path / "raw").mkdir()
    meltano = (PROJECT / ".venv/bin/meltano", "--environment=spark", "run", "tap-toubib", "target-jsonl")
    with bundled_api(tmp_path / "toubib.sqlite", 130) as api:
        outcome = run(*meltano, API_BASEURL=api.url, **environment)
        assert outcome.returncode == 0, outcome.stdout
        api.update(3, last_name="Changed")
        api.delete(5)
        time.sleep(1)  # the names of the loader's files have seconds
        outcome = run(*meltano, "dbt-spark:build", API_BASEURL=api.url, **environment)
        assert outcome.returncode == 0, outcome.stdout
        patients = api.patients()
    history = duckdb.read_parquet(f"{tmp_path}/spark/warehouse/main.db/patients_history/*.parquet")
    current = history.filter("is_current").select("patient_id, email, last_name").fetchall()
    assert sorted(current) == [(number, one["email"], one["last_name"]) for number, one in sorted(patients.items())]
    assert history.filter("version_number = 2").select("patient_id, last_name").fetchall() == [(3, "Changed")]
    assert history.filter("ended_by = 'deletion'").select("patient_id").fetchall() == [(5,)]
