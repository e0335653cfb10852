"""Running by schedule: when, one run at a time, and how the last one ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support import Destination, bundled_api

from toubib_connector import schedule as module
from toubib_connector.errors import Failure
from toubib_connector.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVE = """
import json, sys
from pathlib import Path
from toubib_connector.destination import Destination
from toubib_connector.schedule import Schedule, Scheduler
path, schedules, *command = sys.argv[1:]
Scheduler(Destination(Path(path)), [Schedule(**each) for each in json.loads(schedules)], tuple(command)).serve()
"""
EACH_SECOND = "* * * * * *"


def serve(
    destination: Destination, schedules: dict[str, dict[str, str]], *command: str, output: Path
) -> subprocess.Popen[bytes]:
    """Start a scheduler in a process of its own, of schedules that come each second, with these variables."""
    listed = [{"name": name, "interval": EACH_SECOND, "environment": added} for name, added in schedules.items()]
    with output.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-c", SERVE, destination.path, json.dumps(listed), *command],
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def outcome(destination: Destination) -> dict[str, Any]:
    text = (destination.path.parent / f"{destination.path.name}.work" / "outcome.json").read_text()
    return dict(json.loads(text))


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until something is so, for a time after which it will not be."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_week_begins_on_sunday_as_in_cron() -> None:
    saturday = datetime(2024, 6, 1, 12, tzinfo=UTC)
    assert next(Schedule("weekly", "30 3 * * 0").list_instants(saturday)) == datetime(2024, 6, 2, 3, 30, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["", "UTC", "UTC0", "EST5EDT", "<+03>-3", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_any_form_of_time_zone_is_understood(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        now = module.read_clock()
        at = next(Schedule("daily", "0 3 * * *").list_instants(now))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert abs((now - datetime.now(UTC)).total_seconds()) < 60
    assert (at.hour, at.minute) == (3, 0)
    if zone == "<+03>-3":
        assert now.utcoffset() == timedelta(hours=3)
    assert 0 < (at - now).total_seconds() <= 25 * 3600


def test_an_interval_that_is_none_is_told_in_one_line() -> None:
    with pytest.raises(Failure, match=r"^The interval '61 \* \* \* \*' of the schedule mine in meltano.yml .*\Z"):
        Schedule("mine", "61 * * * *").list_instants(datetime.now(UTC))


def test_an_outcome_that_a_full_disk_cut_short_is_told_in_one_line(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    folder = tmp_path / "x.duckdb.work"
    folder.mkdir()
    for text in ("", '{"schedule": "hou'):
        (folder / "outcome.json").write_text(text)
        sick = destination.run("healthy")
        assert sick.returncode == 1
        assert (
            sick.stdout == f"Error: {folder / 'outcome.json'} is not whole; the next scheduled run writes it again.\n"
        )


def test_a_scheduler_outlives_a_disk_that_has_no_room_for_an_outcome(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    printed = tmp_path / "printed"
    (tmp_path / "x.duckdb.work" / "outcome.json").mkdir(parents=True)
    scheduler = serve(destination, {"one": {}}, "true", output=printed)
    wait_for(lambda: printed.read_text().count("Cannot write") >= 2)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=10) == 0


def test_two_schedules_that_are_due_at_once_run_one_after_the_other(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "some folder" / "x.duckdb")
    log = tmp_path / "log"
    command = f'echo "$NAME begins" >> {log}; sleep 0.1; echo "$NAME ends" >> {log}; test $NAME = one'
    schedules = {"one": {"NAME": "one"}, "two": {"NAME": "two"}}
    scheduler = serve(destination, schedules, "bash", "-c", command, output=tmp_path / "printed")
    for name, exit_code in (("one", 0), ("two", 1)):
        wait_for(lambda name=name: outcome(destination)["schedule"] == name)  # type: ignore[misc]
        assert outcome(destination)["exit_code"] == exit_code
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=10) == 0
    lines = log.read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"one", "two"}
    assert [line.split()[1] for line in lines] == ["begins", "ends"] * (len(lines) // 2)


def test_what_is_due_during_a_run_is_skipped_and_a_signal_reaches_the_run(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    printed, log = tmp_path / "printed", tmp_path / "log"
    command = f"echo begins >> {log}; trap 'exit 143' TERM; while true; do sleep 0.1; done"
    scheduler = serve(destination, {"one": {}, "two": {}}, "bash", "-c", command, output=printed)
    wait_for(lambda: printed.read_text().count("The last run is still under way; this one of one is skipped") >= 2)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=10) == 0
    # nor did the run of the other schedule begin that waited for the end of this one
    assert log.read_text().count("begins") == 1
    assert outcome(destination)["exit_code"] == 128 + signal.SIGTERM
    sick = destination.run("healthy")
    assert sick.returncode == 1
    assert "with exit code 143" in sick.stdout


@pytest.mark.complete
def test_a_run_that_is_due_is_that_of_the_command_line(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "some folder" / "x.duckdb")
    assert destination.run("healthy").returncode == 0
    with bundled_api(tmp_path / "toubib.sqlite", 50) as api:
        environment = {"API_BASEURL": api.url, "TAP_TOUBIB_FULL_REFRESH": "true"}
        command = [sys.executable.replace(".venvs/dev", ".venv"), "-m", "toubib_connector", "run"]
        scheduler = serve(destination, {"weekly-full": environment}, *command, output=tmp_path / "printed")
        wait_for(lambda: outcome(destination), 120)
        scheduler.send_signal(signal.SIGTERM)
        assert scheduler.wait(timeout=30) == 0
    assert destination.query("select count(*) from main.patients") == [(50,)]
    assert destination.run("healthy").stdout.count("exit code 0") == 1


def test_the_schedules_are_those_of_the_project(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    printed = tmp_path / "printed"
    # its own database is none of the scheduler's business, nor another project of the user's
    (tmp_path / "x.duckdb.meltano.db").write_text("half made")
    scheduler = destination.start("schedule", output=printed, MELTANO_PROJECT_ROOT=str(tmp_path), TZ="UTC0")
    wait_for(lambda: "weekly-full" in printed.read_text())
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=10) == 0
    first, second = printed.read_text().splitlines()
    assert first.startswith("Schedule hourly (0 * * * *) runs next on ")
    assert second.startswith("Schedule weekly-full (30 3 * * 0) runs next on Sunday, ")
    assert second.endswith(" 03:30 UTC")
