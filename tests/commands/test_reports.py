"""`make status` and `make report`, after runs."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING

import duckdb
import pytest
from report_databases import make_database, make_run
from story import Story
from support import Destination

from toubib_connector.destination import Destination as Commands
from toubib_connector.errors import Failure
from toubib_connector.report import draw_report
from toubib_connector.runs import append_run, read_runs
from toubib_connector.status import show_status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 6, 15, 12, 5, tzinfo=UTC)
UNUSUAL = [
    datetime(2028, 2, 29, 12, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 30, tzinfo=UTC),
    datetime(2027, 3, 1, 0, 10, tzinfo=UTC),
]


def draw(tmp_path: Path, days: int = 0, *, now: datetime = NOON, zone: str = "UTC", change: str = "") -> str:
    """Return the report of a destination of so many days, after a change to its tables."""
    path = tmp_path / "clinic.duckdb"
    if not path.exists():
        make_database(path, now, days)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"set timezone = '{zone}'; {change}")
        return draw_report(connection, read_runs(Commands(path), 100), path.name, now)


def find_charts(page: str) -> list[list[str]]:
    """Return the texts of the bars of each chart, from the left."""
    charts = re.findall(r"<svg(.*?)</svg>", page, re.DOTALL)
    return [re.findall(r"<title>([^<]+)</title>", chart) for chart in charts]


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_status_shows_the_runs_and_what_the_destination_holds(story: Story) -> None:
    outcome = story.destination.make("status")
    assert outcome.returncode == 0, outcome.stdout
    [words] = [line.split() for line in outcome.stdout.splitlines() if "first_load" in line]
    *_, trigger, ended, kind, changes, rejected, _, _ = words
    assert [trigger, ended, kind, changes, rejected] == ["manual", "succeeded", "first_load", "1,234", "0"]
    assert re.search(r"The source as of [-\d: ]+ UTC, \d+:\d\d:\d\d ago: 1,235 patients", outcome.stdout)
    assert re.search(r"1,235 current patients, 1,239 versions, [\d,]+ observations, 0 rejected records", outcome.stdout)
    assert re.search(r"clinic.duckdb has \d+\.\d MB", outcome.stdout)


def test_status_without_runs_or_a_file_says_so(
    tmp_path: Path, destination: Destination, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = destination.run("status")
    assert outcome.returncode == 1
    assert outcome.stdout == f"Error: {destination.path} does not exist yet; `make run` creates it.\n"
    make_database(tmp_path / "clinic.duckdb", NOON)
    assert show_status(Commands(tmp_path / "clinic.duckdb"))
    assert capsys.readouterr().out == "Nothing was loaded yet; `make run` loads the patients.\n"


def test_status_shows_failed_runs_in_80_columns_where_nothing_else_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(tmp_path / "clinic.duckdb")
    for hour in range(12):
        failed = {"outcome": "failed", "reason": "down", "trigger": "weekly-full", "kind": "first_load"}
        append_run(commands, make_run(NOON + timedelta(hours=hour), hour, 12) | failed | {"changed": 1_000_000})
    assert not show_status(commands)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert sum(line.startswith("15 Jun ") and " failed " in line for line in lines) == 10
    assert "The run of 15 Jun 23:05:00 failed: down" in lines
    assert lines[-1] == f"{commands.path} does not exist yet; `make run` creates it."


@pytest.mark.parametrize(("outcome", "is_healthy"), [("succeeded", True), ("failed", False), ("stopped", False)])
def test_a_monitor_gets_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], outcome: str, *, is_healthy: bool
) -> None:
    commands = Commands(tmp_path / "clinic.duckdb")
    make_database(commands.path, NOON, 1)
    append_run(commands, make_run(NOON, 1, 1) | {"outcome": outcome})
    assert show_status(commands, as_json=True) == is_healthy
    status = json.loads(capsys.readouterr().out)
    assert status["is_healthy"] == is_healthy
    assert status["last_run"]["outcome"] == outcome
    assert status["patients"] == status["source_patients"] > 5000
    assert datetime.fromisoformat(status["source_as_of"]) <= NOON
    assert status["last_run"]["started_at"] == NOON.isoformat()


def test_status_fails_after_a_failed_run_if_asked(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "clinic.duckdb")
    make_database(destination.path, NOON, 1)
    append_run(Commands(destination.path), make_run(NOON, 9, 9))
    assert destination.run("status", "--check").returncode == 0
    append_run(Commands(destination.path), make_run(NOON, 10, 9) | {"outcome": "failed", "reason": "down"})
    assert destination.run("status", "--check").returncode == 1
    assert destination.run("status").returncode == 0


def test_the_report_is_one_file_that_loads_nothing_in_any_locale(story: Story, tmp_path: Path) -> None:
    loaded = story.copy_destination(tmp_path / "folder")
    with duckdb.connect(str(loaded.path)) as connection:
        connection.execute("insert into raw.rejected_records (field) values ('名前')")
    outcome = loaded.run("report", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert outcome.returncode == 0, outcome.stdout
    path = loaded.path.with_name("clinic.report.html")
    assert str(path) in outcome.stdout
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"src=|href=|url\(|<script|<link|<iframe", page)
    assert "bundled API, whose patients are made up" in page
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)
    assert {"2 new, 3 changed, 1 deleted", "1,234 new", "Nothing changed", "first_load", "名前"} <= set(cells)
    figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([\d,]+)</dd>", page))
    assert [figures[name] for name in ("patients", "versions", "rejected")] == ["1,235", "1,239", "0"]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "Asia/Kathmandu"], indirect=True)
@pytest.mark.parametrize("now", UNUSUAL, ids=str)
def test_the_charts_end_today_and_agree_with_the_figures(tmp_path: Path, now: datetime, zone: str) -> None:
    page = draw(tmp_path, 30, now=now, zone=zone)
    patients, by_day, by_run = find_charts(page)
    [current] = re.findall(r"<dt>patients</dt><dd>([\d,]+)</dd>", page)
    assert patients[-1] == f"{now:%d %b %Y}: {current} patients"
    assert 14 <= len({label.split(":")[0] for label in patients}) == len(patients) <= 200
    assert [label.split(":")[0] for label in by_day] == [
        f"{now - timedelta(days=number):%d %b %Y}" for number in reversed(range(90))
    ]
    assert by_run[-1].startswith(f"{now:%d %b %H:00}: ")
    assert len(by_run) == 100


def test_the_days_of_the_first_run_and_after_the_last_change_are_drawn(tmp_path: Path) -> None:
    draw(tmp_path, 1)
    versions = """
        delete from main.patients_history;
        insert into main.patients_history (created_at, version_number, valid_from, valid_to, is_current, ended_by)
        values
          ('2026-06-01 10:00:00Z', 1, '2026-06-02 10:00:00Z', '2026-06-03 10:00:00Z', false, 'change'),
          ('2026-06-01 10:00:00Z', 2, '2026-06-03 10:00:00Z', '2026-06-04 10:00:00Z', false, 'deletion'),
          ('2026-06-01 10:00:00Z', 3, '2026-06-05 10:00:00Z', null, true, null)
    """
    patients, by_day, _ = find_charts(draw(tmp_path, change=versions))
    assert [label for label in by_day if "Nothing" not in label] == [
        "01 Jun 2026: 1 new",
        "03 Jun 2026: 1 changed",
        "04 Jun 2026: 1 deleted",
        "05 Jun 2026: 1 returned",
    ]
    assert [label.split()[3] for label in patients] == [*"111011111111111"]


def test_the_report_shows_failed_runs_in_red(tmp_path: Path) -> None:
    draw(tmp_path, 1)
    reason = "The API <refuses> the token"
    append_run(Commands(tmp_path / "clinic.duckdb"), make_run(NOON, 10, 99) | {"reason": reason})
    page = unescape(draw(tmp_path))
    [row] = re.findall(r'<tr class="failed">([^/]*/td>[^/]*/td>[^/]*/td>)', page)[:1]
    assert re.findall("<td[^>]*>(.*)</td>", row) == ["15 Jun, 12:05", "failed", reason]
    assert page.count('<rect class="failed"') == 2


def test_the_report_says_that_source_and_destination_differ(tmp_path: Path) -> None:
    assert "make full-refresh" not in draw(tmp_path, 1)
    page = draw(tmp_path, change="update main.syncs set total_items_after = 12345")
    assert "The source had 12,345 patients" in page


def test_a_report_without_runs_says_so(tmp_path: Path) -> None:
    page = draw(tmp_path)
    assert "Nothing was loaded yet." in page
    assert find_charts(page) == []


def test_a_report_on_a_file_without_tables_names_the_command_that_makes_them(tmp_path: Path) -> None:
    path = tmp_path / "clinic.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(Failure, match=f"{path} lacks the tables of a finished run; `make init-db` makes them"):
        show_status(Commands(path))
