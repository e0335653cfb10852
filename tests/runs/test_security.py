"""Patients' data and the token: permissions of files, logs and messages."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from story import MARKER, PATIENTS, TALKATIVE, TOKEN, Story, find_leaks
from support import Destination

from toubib_connector.meltano_log.redaction import WITHHELD, Redaction

if TYPE_CHECKING:
    from support import Api


def log_of(destination: Destination) -> str:
    return Path(f"{destination.path}.work/run.log").read_text()


def break_the_transform(destination: Destination) -> None:
    """Load a value for two patients that an analyst's index on the history allows once."""
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create unique index emails on main.patients_history (email, version_number)")
        connection.execute(f"""
            insert into raw.patients (id, email, _sdc_sync_started_at, _sdc_extracted_at, _sdc_batched_at)
            select id, '{MARKER}\n{MARKER}', (select max(started_at) from raw.syncs), now(), now() + interval 1 day
            from (values (1), (2)) as patients (id)
        """)


def run(destination: Destination, url: str) -> subprocess.CompletedProcess[str]:
    return destination.run("run", "--publish", API_BASEURL=url, TAP_TOUBIB_AUTH_TOKEN=TOKEN, **TALKATIVE)


def test_a_run_logs_no_value(story: Story) -> None:
    after = story.after[1]
    new = f"select count(*) from main.patients where last_name = '{MARKER}\n{MARKER}'"
    assert after.query(new) == [(len(story.created),)]
    assert find_leaks(after, story.printed[1]) == []


def test_only_the_owner_can_read_the_files_of_a_run(story: Story) -> None:
    folder = story.destination.path.parent
    modes = {str(path): path.lstat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]}
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}
    assert str(folder / "clinic.published.duckdb") in modes


def test_an_error_of_the_loader_is_shown_without_the_value(loaded: Destination, api: Api, story: Story) -> None:
    with duckdb.connect(str(loaded.path)) as connection:
        connection.execute("create unique index names on raw.patients (last_name, id)")
    api.update(story.created[0], total_visits=5)
    outcome = run(loaded, api.url)
    assert outcome.returncode != 0
    assert "ConstraintException" in outcome.stdout.splitlines()[-1]
    assert find_leaks(loaded, outcome.stdout) == []


def test_an_error_of_dbt_is_shown_without_the_value(loaded: Destination, api: Api) -> None:
    break_the_transform(loaded)
    outcome = run(loaded, api.url)
    assert outcome.returncode != 0
    assert "Constraint Error: (withheld" in outcome.stdout.splitlines()[-1]
    assert "Done. PASS=" in log_of(loaded)
    assert find_leaks(loaded, outcome.stdout) == []
    recorded = loaded.runs()[-1]
    assert recorded["outcome"] == "failed"
    assert "Constraint Error: (withheld" in recorded["reason"]
    assert recorded["reason"].endswith("2 patients were loaded and are kept; the next run goes on from there")


@pytest.mark.complete
def test_meltano_by_itself_withholds_the_value_too(loaded: Destination) -> None:
    break_the_transform(loaded)
    outcome = loaded.meltano("run", "dbt:build", DBT_LOG_LEVEL_FILE="none", **TALKATIVE)
    assert outcome.returncode != 0
    assert "Constraint Error: (withheld" in outcome.stdout
    assert MARKER not in outcome.stdout


ALL_OF_IT = """
version: 1
handlers: {console: {class: logging.StreamHandler, level: DEBUG, stream: "ext://sys.stdout"}}
root: {level: DEBUG, handlers: [console]}
"""
"""A user's logging configuration, without the project's redaction."""


@pytest.mark.complete
@pytest.mark.parametrize("maps", [{}, {"patients": {"mapped": "'1'"}}], ids=["in files", "as records"])
def test_patients_in_files_are_in_no_log_whatever_its_level(
    api: Api, destination: Destination, tmp_path: Path, maps: dict[str, Any]
) -> None:
    (tmp_path / "logging.yaml").write_text(ALL_OF_IT)
    verbosely = ("--log-level=debug", f"--log-config={tmp_path}/logging.yaml")
    environment = TALKATIVE | {"API_BASEURL": api.url, "TAP_TOUBIB_STREAM_MAPS": json.dumps(maps)}
    outcome = destination.meltano(*verbosely, "run", "tap-toubib", "target-duckdb", **environment)
    assert outcome.returncode == 0, outcome.stdout[-2000:]
    assert destination.query("select count(*) from raw.patients") == [(PATIENTS + 1,)]
    # Meltano logs each record at this level, as docs/operations.md says
    logs = [outcome.stdout, *(path.read_text() for path in tmp_path.rglob("*.log"))]
    assert any(MARKER in text for text in logs) == bool(maps)


def shown(redaction: Redaction, plugin: str, *lines: str, **fields: str) -> list[str]:
    """Return the redacted form of lines that a plugin logs one by one."""
    events = [{"name": plugin, "event": line} | fields for line in lines]
    return [event["event"] for event in events if redaction.filter(logging.makeLogRecord({"msg": event}))]


def test_an_error_that_quotes_no_value_is_shown() -> None:
    line = 'Dependency Error: Cannot alter entry "patients_history" because there are entries that depend on it.'
    assert shown(Redaction(), "dbt", line) == [line]


def test_the_further_lines_of_a_quoted_value_are_withheld_until_the_message_ends() -> None:
    redaction = Redaction()
    error = [f"ValueError: {MARKER}", MARKER, "", f"  {MARKER}: {MARKER}"]
    assert shown(redaction, "target-duckdb", *error) == [f"ValueError: {WITHHELD}"]
    assert shown(redaction, "tap-toubib", "Read 1 patient") == ["Read 1 patient"]
    assert shown(redaction, "target-duckdb", MARKER) == []
    assert shown(redaction, "target-duckdb", "Done", plugin_logger="target-duckdb") == ["Done"]
    assert shown(redaction, "target-duckdb", "Closed") == ["Closed"]
    assert shown(redaction, "dbt", f"  Conversion Error: {MARKER}", MARKER) == [f"  Conversion Error: {WITHHELD}"]
    assert shown(redaction, "dbt", "10:00:00  1 of 2 OK", "OK") == ["10:00:00  1 of 2 OK", "OK"]


def test_a_message_of_several_lines_is_redacted_as_a_whole() -> None:
    message = f"Failed\nConstraint Error: {MARKER}\n{MARKER}"
    assert shown(Redaction(), "meltano", message, "Next") == [f"Failed\nConstraint Error: {WITHHELD}", "Next"]
    assert shown(Redaction(), "meltano", f"dbt failed with stderr:\n{MARKER}") == ["dbt failed"]


def test_every_handler_gets_the_same_redacted_error() -> None:
    redaction = Redaction()
    event = {"name": "target-duckdb", "event": f"ConstraintException: {MARKER}", "exception": MARKER}
    record = logging.makeLogRecord({"msg": event, "exc_info": (MARKER,)})
    assert [redaction.filter(record), redaction.filter(record)] == [True, True]
    assert event == {"name": "target-duckdb", "event": f"ConstraintException: {WITHHELD}"}
    assert record.exc_info is None
