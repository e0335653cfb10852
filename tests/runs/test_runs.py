"""What is recorded of runs: how they ended, whoever else has the file, and whatever they failed of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Timer
from typing import Any

import duckdb
import pytest
from support import Destination as Commands

from toubib_connector import destination as module
from toubib_connector.destination import Destination, FileInUse
from toubib_connector.errors import Failure
from toubib_connector.published_copy import publish_copy
from toubib_connector.recorded_runs import record_run
from toubib_connector.runs import append_run, read_runs
from toubib_connector.source import check_source

MARKER = "Marker7f3a"


@pytest.fixture
def destination(tmp_path: Any) -> Destination:
    """A destination that something was loaded into."""
    made = Destination(tmp_path / "patients.duckdb")
    with duckdb.connect(str(made.path)) as connection:
        connection.execute("create schema raw; create table raw.syncs (started_at timestamp, records bigint)")
    return made


def recorded(destination: Destination) -> list[tuple[Any, ...]]:
    """Return how runs ended and why, nothing where none was recorded."""
    with duckdb.connect(str(destination.path), read_only=True) as connection:
        try:
            return connection.execute("select outcome, reason from bookkeeping.runs order by started_at").fetchall()
        except duckdb.CatalogException:
            return []


@contextmanager
def reader(destination: Destination, seconds: float) -> Iterator[None]:
    """Have another process read the file for some time."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, destination.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        closing = Timer(seconds, process.stdin.close)
        closing.start()
        yield
        closing.join()


def test_a_run_that_meets_another_one_leaves_the_file_to_it(destination: Destination) -> None:
    with destination.lock():
        with pytest.raises(FileInUse), record_run(destination), destination.lock():
            pass
        with pytest.raises(Failure, match="the API is down"), record_run(destination):
            raise Failure("the API is down")
        assert recorded(destination) == []


def test_a_run_whose_file_a_reader_keeps_open_does_not_wait_for_it_twice(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_TIMEOUT", 0)
    with reader(destination, 0.5):
        with (
            pytest.raises(FileInUse, match=r"has .* open. Close it there"),
            record_run(destination),
            destination.lock(),
        ):
            pass
        with pytest.raises(Failure, match="the API is down"), record_run(destination):
            raise Failure("the API is down")
    assert recorded(destination) == []


def test_a_reader_between_two_phases_of_a_run_is_waited_for(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.1)
    with record_run(destination) as record_success, destination.lock():
        with reader(destination, 0.5):
            check_source(destination, "http://a", is_bundled=False)
        with reader(destination, 0.5):
            record_success()
        with reader(destination, 0.5):
            publish_copy(destination)
    assert recorded(destination) == [("succeeded", None)]
    assert "to close" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "/data/state.json"), "/data/state.json: No space left on device"),
        (
            duckdb.ConversionException(f"Conversion Error: Could not convert string '{MARKER}' to INT32\n{MARKER}"),
            "DuckDB says: Conversion Error: (withheld, since it can quote a patient)",
        ),
        (
            duckdb.CatalogException("Catalog Error: Table with name syncs does not exist!"),
            "DuckDB says: Catalog Error: Table with name syncs does not exist!",
        ),
        (KeyError(MARKER), "KeyError"),
        (SystemExit(143), "It was stopped"),
        (KeyboardInterrupt(), "It was stopped"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_run_fails_of_is_recorded_in_one_line(
    destination: Destination, error: BaseException, reason: str
) -> None:
    with pytest.raises(BaseException) as caught, record_run(destination), destination.lock():  # noqa: PT011
        raise error
    assert recorded(destination) == [("failed", reason)]
    assert isinstance(caught.value, type(error)) or str(caught.value) == reason


def test_a_first_run_that_fails_shows_in_the_status(tmp_path: Any) -> None:
    destination = Commands(tmp_path / "patients.duckdb")
    outcome = destination.run("run", API_BASEURL="http://127.0.0.1:1", TOUBIB_TRIGGER="hourly")
    reason = outcome.stdout.splitlines()[-1].removeprefix("Error: ")
    assert destination.query("select outcome, reason, trigger from bookkeeping.runs") == [("failed", reason, "hourly")]
    status = destination.run("status")
    assert status.returncode == 0, status.stdout
    assert f"failed: {reason}" in status.stdout


def test_a_failed_run_leaves_nothing_in_a_database_of_somebody_elses(tmp_path: Any) -> None:
    destination = Destination(tmp_path / "analysis.duckdb")
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create table mine as select 1")
    with pytest.raises(Failure), record_run(destination):
        raise Failure("the API is down")
    assert recorded(destination) == []


def test_a_failed_run_makes_no_folder(tmp_path: Any) -> None:
    with pytest.raises(Failure), record_run(Destination(tmp_path / "mistyped" / "x.duckdb")):
        raise Failure("the API is down")
    assert list(tmp_path.iterdir()) == []


def test_runs_are_read_newest_first_and_a_line_that_was_cut_short_is_left_out(tmp_path: Any) -> None:
    destination = Destination(tmp_path / "patients.duckdb")
    assert read_runs(destination, 10) == []
    begun = datetime(2024, 1, 1, tzinfo=UTC)
    lines: list[dict[str, Any]] = [
        {"started_at": begun + timedelta(hours=number), "ended_at": begun, "reason": f"héé {number}"}
        for number in range(3)
    ]
    append_run(destination, lines[0])
    with destination.runs.open("a") as file:
        file.write('\n{"started_at": "20')
    append_run(destination, lines[1])
    append_run(destination, lines[2])
    assert read_runs(destination, 2) == [lines[2], lines[1]]
    assert read_runs(destination, 10) == [lines[2], lines[1], lines[0]]
