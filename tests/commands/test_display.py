"""The output of a run: at a terminal, in a pipe, and as JSON."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from story import PATIENTS, Story
from support import CONNECTOR, PROJECT, Api, Destination, run

from toubib_connector.destination import Destination as Commands
from toubib_connector.log import say
from toubib_connector.status import show_summary, show_warnings

DEAD = "http://127.0.0.1:1"
RUN = {"new": 2, "changed": 3, "deleted": 1_000, "returned": 0, "recovered": 0, "rejected": 0} | {
    "patients": 1_235,
    "requests": 17,
    "seconds": 9.84,
    "tests": 31,
}
NOTHING = dict.fromkeys(RUN, 0) | {"patients": 1_235, "requests": 3, "seconds": 4.0}


def test_a_run_in_a_pipe_prints_few_plain_lines(story: Story) -> None:
    lines = story.printed[0].splitlines()
    assert lines[1] == '"OK"'
    assert any(line.startswith(f"{PATIENTS:,} new: {PATIENTS:,} patients, ") for line in lines)
    assert any(re.fullmatch(r"Models and tests in \d+\.\d seconds", line) for line in lines)
    assert len(lines) <= 20
    assert "\x1b" not in "".join(lines)
    log = Path(f"{story.destination.path}.work/run.log").read_text()
    assert "Beginning sync of 'patients'" in log


@pytest.mark.complete
def test_a_run_prints_lines_of_json_on_request(loaded: Destination, api: Api) -> None:
    outcome = loaded.run("run", API_BASEURL=api.url, MELTANO_CLI_LOG_FORMAT="json")
    assert outcome.returncode == 0, outcome.stdout
    *events, summary = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert {frozenset(event) for event in events} == {frozenset({"timestamp", "level", "logger", "event"})}
    assert summary["event"].startswith("Nothing changed: 1,235 patients, ")
    assert summary["new"] == summary["rejected"] == 0
    assert {event["level"] for event in events} == {"info"}
    for line in Path(f"{loaded.path}.work/run.log").read_text().splitlines():
        assert "event" in json.loads(line)
    outcome = loaded.run("run", API_BASEURL=DEAD, MELTANO_CLI_LOG_FORMAT="json")
    assert json.loads(outcome.stdout.splitlines()[-1])["level"] == "critical"


def test_a_run_without_changes_shows_its_progress_and_one_line_at_a_terminal(story: Story) -> None:
    text = story.printed[2]
    assert re.search(r"Models and tests .* \d+:\d\d:\d\d elapsed", text)
    lines = text.replace("\r", "").splitlines()
    assert lines[-1].startswith("Nothing changed: 1,235 patients, ")
    assert text.count("Nothing to build: raw holds nothing new and transform/ is unchanged") == 1
    assert "Beginning sync" not in text


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        ("/srv/my clinic.duckdb", " DESTINATION_DUCKDB_PATH='/srv/my clinic.duckdb'"),
        (".demo/demo.duckdb", " DESTINATION_DUCKDB_PATH=.demo/demo.duckdb"),
        ("data/destination.duckdb", ""),
    ],
)
def test_the_summary_names_what_happened_and_the_whole_command(
    capsys: pytest.CaptureFixture[str], path: str, variable: str
) -> None:
    show_summary(RUN, Commands(PROJECT / path))
    assert capsys.readouterr().out.splitlines() == [
        "2 new, 3 changed, 1,000 deleted: 1,235 patients, 17 requests, 9.8 seconds, 31 tests passed",
        f"In {PROJECT / path}",
        f"Query it: make sql{variable}",
        f"See it: make report{variable}",
    ]


def test_a_run_in_which_nothing_changed_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_summary(NOTHING, Commands(tmp_path / "clinic.duckdb"))
    assert capsys.readouterr().out == "Nothing changed: 1,235 patients, 3 requests, 4.0 seconds\n"


def test_the_summary_has_its_numbers_as_fields_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELTANO_CLI_LOG_FORMAT", "json")
    show_summary(RUN, Commands(tmp_path / "clinic.duckdb"))
    [line] = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert event | RUN == event
    assert event["event"].startswith("2 new, 3 changed, 1,000 deleted: 1,235 patients, ")


def test_of_many_rejected_records_some_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with duckdb.connect() as connection:
        connection.execute("""
            create schema raw;
            create table raw.patients as select 1 as id;
            create view main.patients as from raw.patients;
            create view main.patients_history as from raw.patients;
            create table raw.syncs as
            select timestamptz '2024-01-01' as started_at, 'api' as api_url, false as is_bundled_api,
              2 as total_items_after;
            create view main.syncs as from raw.syncs;
            create table raw.rejected_records as
            select range as id, 'email' as field, '' as record, timestamptz '2024-01-01' as _sdc_sync_started_at
            from range(10, 1234)
            union all select 9, 'phone', '', timestamptz '2023-12-31'
        """)
        show_warnings(connection)
    rejected, difference = capsys.readouterr().out.splitlines()
    assert rejected.startswith("Warning: Could not be loaded, and is in raw.rejected_records: 10 (email), ")
    assert rejected.count("(email)") == 20
    assert rejected.endswith(", 1,204 others")
    assert difference == "Warning: The source has 2 patients, the destination 1"


def test_a_message_wraps_by_word_at_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    message = "A long message that has more words than a line holds"
    say(message)
    assert capsys.readouterr().out == f"{message}\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    say(message)
    assert "more words than\na line holds" in capsys.readouterr().out


EMIT = """
import json, logging, sys
from toubib_connector.meltano_log.display import Display
display = Display()
for event in json.loads(sys.argv[1]):
    display.handle(logging.makeLogRecord({"levelno": event.pop("levelno", logging.ERROR), "msg": event}))
"""


def display(progress: Path, *events: dict[str, Any]) -> str:
    """Show events with Meltano's handler, in Meltano's environment; return the output."""
    outcome = run(CONNECTOR.with_name("python"), "-c", EMIT, json.dumps(events), TOUBIB_PROGRESS=str(progress))
    assert outcome.returncode == 0, outcome.stdout
    return outcome.stdout


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [{"name": "dbt", "plugin_logger": "RunResultError", "event": "a reason"}],
            id="an error of dbt without the name of a model",
        ),
        pytest.param(
            [
                {"name": "tap-toubib", "event": "Broken pipe"},
                {"name": "meltano", "event": "failed", "exit_codes": {"loaders": 1}},
                {"name": "target-duckdb", "event": "a reason", "levelno": logging.INFO},
            ],
            id="the last line of the loader, which comes late",
        ),
    ],
)
def test_the_reason_of_a_failure_is_kept(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    display(tmp_path / "progress.json", *events)
    assert json.loads((tmp_path / "progress.json").read_text())["reason"] == "a reason"


def test_a_warning_is_shown_once_even_if_the_disk_has_no_room_for_the_progress(tmp_path: Path) -> None:
    warning = {"name": "tap-toubib", "event": "the API does not answer", "levelno": logging.WARNING}
    printed = display(tmp_path, warning, warning)
    assert printed.count("Warning: the API does not answer\n") == 1
