"""The lines that runs leave, however they end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support import Destination as Commands

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.runs import append_run, read_runs, record_run

MARKER = "Marker7f3a"


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "patients.duckdb")


def test_runs_are_read_newest_first_and_a_line_that_was_cut_short_is_left_out(destination: Destination) -> None:
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
    reasons = ["héé 2", "héé 1", "héé 0"]
    assert [run["reason"] for run in read_runs(destination, 2)] == reasons[:2]
    assert [run["reason"] for run in read_runs(destination, 10)] == reasons
    assert read_runs(destination, 1)[0].items() > lines[2].items()


def test_a_run_leaves_a_line_with_its_numbers(destination: Destination) -> None:
    with record_run(destination, "hourly") as run:
        run["new"] = 5
    [line] = read_runs(destination, 10)
    assert (line["outcome"], line["reason"], line["trigger"], line["new"]) == ("succeeded", None, "hourly", 5)
    assert line["started_at"] <= line["ended_at"] <= datetime.now(UTC)
    assert line["seconds"] == pytest.approx((line["ended_at"] - line["started_at"]).total_seconds(), abs=0.1)


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (OSError(28, "No space left on device", "/data/x"), "failed", "/data/x: No space left on device"),
        (
            duckdb.ConversionException(f"Conversion Error: Could not convert string '{MARKER}' to INT32\n{MARKER}"),
            "failed",
            "DuckDB says: Conversion Error: (withheld, since it can quote a patient)",
        ),
        (
            duckdb.CatalogException("Catalog Error: Table with name syncs does not exist!"),
            "failed",
            "DuckDB says: Catalog Error: Table with name syncs does not exist!",
        ),
        (Failure("the API is down"), "failed", "the API is down"),
        (KeyError(MARKER), "failed", "KeyError"),
        (SystemExit(143), "stopped", "SystemExit"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_end_of_a_run_is_recorded_in_one_line(
    destination: Destination, error: BaseException, outcome: str, reason: str
) -> None:
    with pytest.raises(BaseException) as caught, record_run(destination, "manual"):  # noqa: PT011
        raise error
    [line] = read_runs(destination, 10)
    assert (line["outcome"], line["reason"]) == (outcome, reason)
    assert isinstance(caught.value, type(error)) or str(caught.value) == reason


def test_a_run_that_cannot_be_recorded_keeps_its_outcome(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="the API is down"), record_run(Destination(tmp_path / "none" / "x"), "manual"):
        raise Failure("the API is down")
    assert list(tmp_path.iterdir()) == []
    destination = Destination(tmp_path / "x.duckdb")
    destination.runs.mkdir()
    with record_run(destination, "manual"):
        pass


def test_a_run_on_a_locked_file_leaves_a_line(destination: Destination) -> None:
    with destination.lock():
        with pytest.raises(Failure), record_run(destination, "manual"), destination.lock():
            pass
        [line] = read_runs(destination, 10)
    assert line["reason"] == f"Another run is writing to {destination.path}. Run again when it has ended."


def test_a_first_run_that_fails_leaves_a_line_and_nothing_else(tmp_path: Path) -> None:
    destination = Commands(tmp_path / "patients.duckdb")
    outcome = destination.run("run", API_BASEURL="http://127.0.0.1:1", TOUBIB_TRIGGER="hourly")
    assert outcome.returncode == 1
    [file] = tmp_path.iterdir()
    run = json.loads(file.read_text().strip())
    assert f"Error: {run['reason']}" == outcome.stdout.splitlines()[-1]
    assert (run["outcome"], run["trigger"]) == ("failed", "hourly")
    assert file.stat().st_mode & 0o777 == 0o600
