"""Running by schedule: when, one run at a time, and how the last one ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import Destination, wait_for

from toubib_connector import schedule as module
from toubib_connector.destination import Destination as Written
from toubib_connector.errors import Failure
from toubib_connector.runs import append_run
from toubib_connector.schedule import Schedule

SERVE = """
import json, sys
from pathlib import Path
from toubib_connector.destination import Destination
from toubib_connector.schedule import Schedule, serve_schedules
path, schedules, *command = sys.argv[1:]
serve_schedules(Destination(Path(path)), [Schedule(**each) for each in json.loads(schedules)], tuple(command))
"""
EACH_SECOND = "* * * * * *"


def serve(
    destination: Destination, schedules: dict[str, dict[str, str]], *command: str, output: Path
) -> subprocess.Popen[bytes]:
    """Start a scheduler in its own process, with a run of each schedule every second; schedules map to variables."""
    listed = [{"name": name, "interval": EACH_SECOND, "environment": added} for name, added in schedules.items()]
    with output.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-c", SERVE, destination.path, json.dumps(listed), *command],
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.parametrize("zone", ["", "UTC0", "<+03>-3", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_any_form_of_time_zone_is_understood(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        now = module.read_clock()
        at = next(Schedule("daily", "0 3 * * *").list_instants(now))
        # offsets follow the TZ of the moment
        assert abs((now - datetime.now(UTC)).total_seconds()) < 60
        assert (at.hour, at.minute) == (3, 0)
        if zone == "<+03>-3":
            assert now.utcoffset() == timedelta(hours=3)
        assert 0 < (at - now).total_seconds() <= 25 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_invalid_interval_is_an_error_of_one_line() -> None:
    with pytest.raises(Failure, match=r"^The interval '61 \* \* \* \*' of the schedule mine in meltano.yml .*\Z"):
        Schedule("mine", "61 * * * *").list_instants(datetime.now(UTC))


def begun(log: Path) -> list[str]:
    """Return which schedules' runs have begun and ended so far."""
    return log.read_text().split() if log.exists() else []


def test_a_run_that_is_due_during_another_schedules_run_starts_after_it(tmp_path: Path) -> None:
    log, printed = tmp_path / "log", tmp_path / "printed"
    command = f'echo "$NAME:begins" >> {log}; sleep 0.1; echo "$NAME:ends" >> {log}'
    schedules = {"one": {"NAME": "one"}, "two": {"NAME": "two"}}
    scheduler = serve(Destination(tmp_path / "x.duckdb"), schedules, "bash", "-c", command, output=printed)
    wait_for(lambda: {"one:ends", "two:ends"} <= {*begun(log)})
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=60) == 0
    assert [line.split(":")[1] for line in begun(log)] == ["begins", "ends"] * (len(begun(log)) // 2)
    assert "The run of two that was due at" in printed.read_text()


def test_a_run_that_is_due_during_one_of_the_same_schedule_is_skipped(tmp_path: Path) -> None:
    printed = tmp_path / "printed"
    scheduler = serve(Destination(tmp_path / "x.duckdb"), {"one": {}}, "sleep", "2.5", output=printed)
    wait_for(lambda: printed.read_text().count(" starts") == 2)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=60) == 0
    assert "Runs of one that were due during this one are skipped" in printed.read_text()
    first, second = (int(seconds) for seconds in re.findall(r"due at \d\d:\d\d:(\d\d) starts", printed.read_text()))
    assert (second - first) % 60 > 2


def test_a_signal_reaches_the_run_and_no_other_one_begins(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f"trap 'exit 143' TERM; echo begins >> {log}; while true; do sleep 0.1; done"
    destination = Destination(tmp_path / "x.duckdb")
    scheduler = serve(destination, {"one": {}, "two": {}}, "bash", "-c", command, output=tmp_path / "printed")
    wait_for(lambda: begun(log))
    time.sleep(1)
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=60) == 0
    assert begun(log) == ["begins"]


def test_a_run_that_was_killed_is_recorded_by_the_scheduler(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    scheduler = serve(destination, {"one": {}}, "bash", "-c", "kill -9 $$", output=tmp_path / "printed")
    runs = Path(f"{destination.path}.runs.jsonl")
    wait_for(lambda: runs.exists() and runs.read_text().endswith("}"))
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=60) == 0
    run = json.loads(runs.read_text().splitlines()[1])
    assert (run["outcome"], run["reason"], run["trigger"]) == ("failed", "Signal 9 ended it", "one")
    assert "Signal 9 ended it" in destination.run("status").stdout


@pytest.mark.parametrize(
    ("outcomes", "exit_code"),
    [
        ([], 0),
        ([("manual", "failed")], 0),
        ([("hourly", "failed"), ("hourly", "succeeded"), ("manual", "failed")], 0),
        ([("hourly", "succeeded"), ("weekly-full", "failed"), ("manual", "succeeded")], 1),
        ([("hourly", "stopped")], 1),
    ],
)
def test_a_scheduler_is_healthy_if_its_last_scheduled_run_succeeded(
    tmp_path: Path, outcomes: list[tuple[str, str]], exit_code: int
) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    for trigger, outcome in outcomes:
        instants = dict.fromkeys(("started_at", "ended_at"), datetime.now(UTC))
        append_run(Written(destination.path), instants | {"trigger": trigger, "outcome": outcome})
    assert destination.run("healthy").returncode == exit_code


def test_the_schedules_are_those_of_the_project(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    printed = tmp_path / "printed"
    # the scheduler ignores the state and other projects of the user
    (tmp_path / "x.duckdb.meltano.db").write_text("half made")
    scheduler = destination.start("schedule", output=printed, MELTANO_PROJECT_ROOT=str(tmp_path), TZ="UTC0")
    wait_for(lambda: "weekly-full" in printed.read_text())
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(timeout=60) == 0
    first, second = printed.read_text().splitlines()
    assert first.startswith("Schedule hourly (0 * * * *) runs next on ")
    assert second.startswith("Schedule weekly-full (30 3 * * 0) runs next on Sunday, ")
    assert second.endswith(" 03:30 UTC")
