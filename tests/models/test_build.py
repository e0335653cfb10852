"""The build step: when it has nothing to do, and how it handles a file in use."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import duckdb
import pytest
from dbt_process import Dbt
from support import PROJECT, Destination

NOTHING = "Nothing to build: raw holds nothing new and transform/ is unchanged\n"
DBT_PYTHON = PROJECT / ".meltano/utilities/dbt/venv/bin/python"


def at(hour: int) -> str:
    return f"timestamptz '2024-01-01 {hour:02}:00:00Z'"


def load(hour: int, columns: str = "", values: str = "") -> str:
    """Return a statement that appends an observation made at an hour."""
    names = "id, updated_at, _sdc_sync_started_at, _sdc_extracted_at, _sdc_batched_at"
    return f"insert into raw.patients ({names}{columns}) values (1, {', '.join([at(1), *[at(hour)] * 3])}{values})"


def sync(hour: int, total: int = 1, started: int | None = None) -> str:
    """Return a statement that appends the row of a run."""
    return f"""
        insert into raw.syncs (started_at, kind, total_items_after, _sdc_batched_at)
        values ({at(started or hour)}, 'changes', {total}, {at(hour)})
    """


def execute(path: Path, *statements: str) -> None:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def build(tmp_path: Path) -> ModuleType:
    """build.py in a copy of the project."""
    folder = shutil.copytree(PROJECT / "transform", tmp_path / "transform", ignore=shutil.ignore_patterns("target"))
    spec = importlib.util.spec_from_file_location("build", folder / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Destination:
    """A destination in which everything is built."""
    destination = Destination(tmp_path_factory.mktemp("built") / "patients.duckdb")
    dbt.build(destination.path)
    execute(destination.path, load(2), sync(3, started=2))
    dbt.build(destination.path)
    return destination


@pytest.fixture
def file(built: Destination, build: ModuleType, tmp_path: Path) -> Path:
    """A copy of the built file, in which the copied project has recorded that all tests passed."""
    copy = built.copy(tmp_path / "patients.duckdb")
    with duckdb.connect(str(copy.path)) as connection:
        build.record_success(connection)
    return copy.path


def test_a_run_that_found_nothing_needs_no_build(
    file: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBT_DUCKDB_PATH", str(file))
    execute(file, sync(5), sync(6))
    assert build.main([]) == 0
    assert capsys.readouterr().out == NOTHING


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param([load(6), sync(7, started=6)], id="a change"),
        pytest.param([load(6)], id="an interrupted run"),
        pytest.param([load(6, ", _sdc_deleted_at", f", {at(6)}")], id="a tombstone"),
        pytest.param([sync(6, total=2)], id="another total"),
        pytest.param([sync(6, total=2), sync(7, total=2)], id="another total that was not tested"),
        pytest.param([sync(6, started=1)], id="a run that began before what was built"),
        pytest.param(["alter table raw.patients add column ward varchar"], id="a new column"),
        pytest.param(["alter table raw.patients alter column email type json"], id="another type"),
        pytest.param([f"update bookkeeping.builds set tested_until = {at(1)}"], id="a failed test"),
        pytest.param([f"update bookkeeping.builds set built_until = {at(1)}"], id="a failed build"),
        pytest.param(
            ["update bookkeeping.builds set built_until = '2999-01-01', tested_until = '2999-01-01'"],
            id="a clock that was set back",
        ),
        pytest.param(["drop schema bookkeeping cascade"], id="no build yet"),
    ],
)
def test_anything_not_built_and_tested_is_built(file: Path, build: ModuleType, statements: list[str]) -> None:
    with duckdb.connect(str(file)) as connection:
        assert build.has_nothing_new(connection)
        for statement in statements:
            connection.execute(statement)
        assert not build.has_nothing_new(connection)


@pytest.mark.parametrize("name", ["models/main/patients.sql", "models/sources.yml", "build.py", "tests/new.sql"])
def test_an_edited_project_is_built(file: Path, build: ModuleType, name: str) -> None:
    with (build.PROJECT / name).open("a") as edited:
        edited.write("\n")
    with duckdb.connect(str(file)) as connection:
        assert not build.has_nothing_new(connection)


@contextmanager
def opened_elsewhere(file: Path) -> Iterator[int]:
    """Open a file in another process. Yields its id."""
    code = f"import duckdb; connection = duckdb.connect({str(file)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"open\n"
        yield process.pid
        process.communicate(b"\n")


def test_a_file_that_another_process_keeps_open_is_an_error_of_one_line(
    file: Path, build: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBT_DUCKDB_PATH", str(file))
    monkeypatch.setattr(build, "LOCK_TIMEOUT", 1)
    with opened_elsewhere(file) as pid:
        assert build.main([]) == 1
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Error: ")
    assert f"(PID {pid})" in line


def test_a_build_is_recorded_only_if_all_its_tests_passed(
    empty: Destination, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    environment = os.environ | {
        "DBT_DUCKDB_PATH": str(empty.path),
        "DBT_PROJECT_DIR": str(PROJECT / "transform"),
        "DBT_PROFILES_DIR": str(PROJECT / "transform"),
        "DBT_TARGET_PATH": str(pytestconfig.cache.mkdir("dbt-build")),
        "DBT_LOG_PATH": str(tmp_path),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        script = PROJECT / "transform/build.py"
        return subprocess.run(
            [DBT_PYTHON, script, *arguments], check=False, env=environment, text=True, stdout=subprocess.PIPE
        )

    execute(empty.path, load(2), sync(3, started=2), "update raw.syncs set kind = 'other'")
    for _ in range(2):
        assert run().returncode == 1
    execute(empty.path, "update raw.syncs set kind = 'full'")
    assert "Completed successfully" in run().stdout
    assert run().stdout == NOTHING
    assert empty.query("select patient_id from main.patients") == [(1,)]
    assert "Completed successfully" in run("--full-refresh").stdout


# DuckDB's default is 80 % of the memory
@pytest.mark.parametrize(("default", "limit"), [("8GB", 2.5e9), ("100MB", 250e6)])
def test_a_build_takes_a_quarter_of_the_memory_but_at_least_250_mb(
    build: ModuleType, default: str, limit: float
) -> None:
    with duckdb.connect(config={"memory_limit": default}) as connection:
        text = build.find_memory_limit(connection)
        connection.execute(f"set memory_limit = '{text}'")
    assert float(text.removesuffix("B")) == pytest.approx(limit, rel=0.01)
