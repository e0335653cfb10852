"""What a run shows: at a terminal, where nobody watches, and where a machine collects the log."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pytest
from story import PATIENTS, Story
from support import CONNECTOR, Api, Destination, run

from toubib_connector.destination import Destination as ConnectorDestination
from toubib_connector.summary import show_summary

DEAD = "http://127.0.0.1:1"


def test_a_run_that_nobody_watches_prints_few_plain_lines(story: Story) -> None:
    lines = story.printed[0].splitlines()
    assert lines[1] == '"OK"'
    assert lines[-1].startswith(f"{PATIENTS} new, 0 changed, 0 deleted, 0 rejected; ")
    assert any(re.fullmatch(r"Built and tested in \d+\.\d seconds: \d+ models and tests", line) for line in lines)
    assert len(lines) <= 12
    assert "\x1b" not in "".join(lines)
    log = Path(f"{story.destination.path}.work/run.log").read_text()
    assert "Beginning sync of 'patients'" in log
    assert "Done. PASS=" in log


@pytest.mark.complete
def test_a_run_prints_lines_of_json_where_they_are_wanted(loaded: Destination, api: Api) -> None:
    outcome = loaded.run("run", API_BASEURL=api.url, MELTANO_CLI_LOG_FORMAT="json")
    assert outcome.returncode == 0, outcome.stdout
    events = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert {frozenset(event) for event in events} == {frozenset({"timestamp", "level", "logger", "event"})}
    assert events[-1]["event"].startswith("0 new, 0 changed, 0 deleted, 0 rejected; ")
    assert {event["level"] for event in events} == {"info"}
    for line in Path(f"{loaded.path}.work/run.log").read_text().splitlines():
        assert "event" in json.loads(line)
    outcome = loaded.run("run", API_BASEURL=DEAD, MELTANO_CLI_LOG_FORMAT="json")
    assert json.loads(outcome.stdout.splitlines()[-1])["level"] == "critical"


def test_a_run_shows_its_progress_at_a_terminal(story: Story) -> None:
    text = story.printed[2]
    assert re.search(r"Models and tests .* (\d+) of \1 +100%", text)
    assert re.search(r"1,235 +patients now\s+0 +new\s+0 +changed\s+0 +deleted\s+0 +recovered\s+0 +rejected", text)
    assert "Beginning sync" not in text


def test_a_failed_run_says_why_and_is_recorded(loaded: Destination) -> None:
    outcome = loaded.run("run", API_BASEURL=DEAD)
    assert outcome.returncode == 1
    reason = outcome.stdout.splitlines()[-1].removeprefix("Error: ")
    assert loaded.query("""
        select outcome, patients_read is null, trigger, ended_at >= started_at from bookkeeping.runs order by started_at
    """)[2:] == [("succeeded", False, "manual", True), ("failed", True, "manual", True)]
    assert loaded.query("select reason from bookkeeping.runs where outcome = 'failed'") == [(reason,)]
    shown = loaded.run("status").stdout
    assert f"failed: {reason}" in shown
    table = [line for line in shown.splitlines() if "requests" in line or re.match(r" \d{4}-", line)]
    assert len(table) == 5
    assert max(map(len, table)) <= 80


def test_of_many_rejected_records_some_are_named(empty: Destination, capsys: pytest.CaptureFixture[str]) -> None:
    with duckdb.connect(str(empty.path)) as connection:
        connection.execute("""
            insert into raw.syncs (started_at, kind) values (timestamp '2024-01-01', 'full');
            insert into raw.rejected_records (id, field, _sdc_extracted_at)
            select range, 'email', timestamp '2024-01-01' from range(10, 1234)
        """)
        show_summary(connection, ConnectorDestination(empty.path), tests=5, seconds=1)
    warning, *_ = capsys.readouterr().out.splitlines()
    assert warning.startswith("Warning: Could not be loaded, and is in raw.rejected_records: 10 (email), ")
    assert warning.count("(email)") == 20
    assert warning.endswith(", 1,204 others")


EMIT = """
import json, logging, os, sys
from toubib_connector.display import Display
display = Display()
for event in json.loads(sys.argv[1]):
    display.handle(logging.makeLogRecord({"msg": event, "levelno": logging.ERROR}))
"""


def show_errors(progress: Path, *events: dict[str, str]) -> None:
    """Have Meltano's handler, in the environment that has Meltano, take errors."""
    python = CONNECTOR.with_name("python")
    outcome = run(python, "-c", EMIT, json.dumps(events), TOUBIB_PROGRESS=str(progress))
    assert outcome.returncode == 0, outcome.stdout


def test_an_error_of_dbt_without_the_name_of_a_model_is_the_reason(tmp_path: Path) -> None:
    show_errors(tmp_path / "progress.json", {"name": "dbt", "plugin_logger": "RunResultError", "event": "a reason"})
    assert json.loads((tmp_path / "progress.json").read_text())["reason"] == "a reason"


def test_a_disk_without_room_for_the_progress_ends_no_run(tmp_path: Path) -> None:
    show_errors(tmp_path, {"name": "dbt", "event": "a reason"})
