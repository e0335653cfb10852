"""`make status` and `make report`, after runs."""

from __future__ import annotations

import json
import re
import resource
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import duckdb
import pytest
from report_databases import make_database, make_run
from story import Story
from support import Destination

from toubib_connector.destination import Destination as Commands
from toubib_connector.errors import Failure
from toubib_connector.log import describe_age
from toubib_connector.report import draw_report
from toubib_connector.runs import append_run, read_runs
from toubib_connector.status import show_status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 6, 15, 12, 5, tzinfo=UTC)
UNUSUAL = [
    datetime(2026, 1, 31, 12, tzinfo=UTC),
    datetime(2028, 2, 29, 12, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 30, tzinfo=UTC),
    datetime(2027, 3, 1, 0, 10, tzinfo=UTC),
]


class Page(HTMLParser):
    """The report as a browser reads it.

    Attributes:
        loaded: The addresses it would load.
        words: Its text.
        charts: The labels of the axis and of the bars of each chart, from the left.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = page
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.charts = [
            (re.findall(r"<span>([^<]+)</span>", axis), re.findall(r"<title>([^<]+)</title>", bars))
            for bars, axis in re.findall(r"<svg(.*?)</svg>.*?<div>(.*?)</div></figure>", page, re.DOTALL)
        ]
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "xlink:href"}]
        self.loaded += [tag] if tag in {"script", "link", "iframe"} else []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def draw(tmp_path: Path, days: int = 0, *, now: datetime = NOON, zone: str = "UTC", change: str = "") -> Page:
    """Return the report of a destination of so many days, after a change to its tables."""
    path = tmp_path / "clinic.duckdb"
    if not path.exists():
        make_database(path, now, days)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"set timezone = '{zone}'; {change}")
        return Page(draw_report(connection, read_runs(Commands(path), 100), path.name, now))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, story: Story) -> Destination:
    return story.copy_destination(tmp_path_factory.mktemp("reports") / "folder")


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_status_shows_the_runs_and_what_the_destination_holds(loaded: Destination) -> None:
    outcome = loaded.make("status")
    assert outcome.returncode == 0, outcome.stdout
    [words] = [line.split() for line in outcome.stdout.splitlines() if "first_load" in line]
    *_, trigger, ended, kind, changes, rejected, _, _ = words
    assert [trigger, ended, kind, changes, rejected] == ["manual", "succeeded", "first_load", "1,234", "0"]
    assert re.search(r"The source as of [-\d: ]+ UTC, \d+ \w+ ago: 1,235 patients", outcome.stdout)
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


def test_status_over_ten_thousand_runs_takes_less_than_a_second(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "clinic.duckdb")
    make_database(destination.path, NOON, 1)
    lines = [json.dumps(make_run(NOON, hour, 10_000)) for hour in range(10_001)]
    Commands(destination.path).runs.write_text("\n".join(lines))
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        outcome = destination.run("status", "--check")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert outcome.returncode == 0, outcome.stdout
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    append_run(Commands(destination.path), make_run(NOON, 10, 99))
    assert destination.run("status", "--check").returncode == 1


def test_make_report_leaves_one_file_that_loads_nothing(loaded: Destination) -> None:
    outcome = loaded.make("report")
    assert outcome.returncode == 0, outcome.stdout
    path = loaded.path.with_name("clinic.report.html")
    assert str(path) in outcome.stdout
    page = Page(path.read_text(encoding="utf-8"))
    assert page.loaded == []
    assert "url(" not in page.text
    assert {"1,235", "1,239", "first_load", "changes", "last_name"} <= set(page.words)
    assert "bundled API, whose patients are made up" in page.text


def test_the_report_is_written_in_any_locale(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "clinic.duckdb")
    make_database(destination.path, NOON, 1)
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("insert into main.patient_changes values (1, '名前', '', '', now())")
    outcome = destination.run("report", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert outcome.returncode == 0, outcome.stdout
    assert "名前" in (tmp_path / "clinic.report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "Asia/Kathmandu"], indirect=True)
@pytest.mark.parametrize("now", UNUSUAL, ids=str)
@pytest.mark.parametrize("days", [1, 30])
def test_the_charts_end_today_and_agree_with_the_figures(tmp_path: Path, days: int, now: datetime, zone: str) -> None:
    page = draw(tmp_path, days, now=now, zone=zone)
    (patients, numbers), (event_days, _), *fields, (first_runs, _), (_, requests) = page.charts
    figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([\d,]+)</dd>", page.text))
    today = f"{now:%d %b %Y}"
    assert patients[-1] == today
    assert numbers[-1] == f"{today}: {figures['current patients']} patients"
    assert len({number.split(":")[0] for number in numbers}) == len(numbers) >= 14
    assert event_days == [f"{now - timedelta(days=89):%d %b}", f"{now - timedelta(days=44):%d %b}", f"{now:%d %b}"]
    dates = {label.split(":")[0] for _, labels in fields for label in labels}
    last_days = {f"{now - timedelta(days=number):%d %b %Y}" for number in range(days)}
    assert fields or now.hour == 0
    assert dates <= last_days
    assert first_runs[-1] == f"{now:%d %b %H:00}"
    assert len(requests) == min(100, 24 * (days - 1) + now.hour + 1)


def test_patients_are_drawn_until_today_where_nothing_happened_lately(tmp_path: Path) -> None:
    draw(tmp_path, 30)
    page = draw(tmp_path, change="delete from main.patients_history where created_at > '2026-04-01'")
    axis, numbers = page.charts[0]
    assert axis[-1] == "15 Jun 2026"
    assert numbers[-1].startswith("15 Jun 2026: ")
    assert numbers[-1].split(": ")[1] == numbers[-2].split(": ")[1]


def test_a_return_is_drawn_as_new_and_a_change_is_not(tmp_path: Path) -> None:
    page = draw(
        tmp_path,
        change="""
        insert into main.patients_history (created_at, version_number, valid_from, valid_to, is_current, ended_by)
        values
          ('2026-06-01 10:00:00Z', 1, '2026-06-02 10:00:00Z', '2026-06-03 10:00:00Z', false, 'change'),
          ('2026-06-01 10:00:00Z', 2, '2026-06-03 10:00:00Z', '2026-06-04 10:00:00Z', false, 'deletion'),
          ('2026-06-01 10:00:00Z', 3, '2026-06-05 10:00:00Z', null, true, null)
        """,
    )
    drawn = [label for label in page.charts[1][1] if ": 0 " not in label]
    assert drawn == ["01 Jun 2026: 1 new", "04 Jun 2026: 1 deleted", "05 Jun 2026: 1 new"]
    assert page.charts[0][1][-1] == "15 Jun 2026: 1 patients"


def test_the_report_names_changes_by_id_and_field_without_values(tmp_path: Path) -> None:
    page = draw(tmp_path, 2)
    assert "the old value" not in page.text
    assert "the new value" not in page.text
    with duckdb.connect(str(tmp_path / "clinic.duckdb")) as connection:
        query = "select patient_id, field from main.patient_changes order by changed_at desc limit 3"
        for patient_id, field in connection.execute(query).fetchall():
            assert re.search(rf"<td[^>]*>{patient_id}</td>\s*<td[^>]*>[^<]*{field}", page.text)


def test_the_report_shows_failed_runs(tmp_path: Path) -> None:
    page = draw(tmp_path, 1)
    assert "The last run succeeded." in page.text
    reason = "The API <refuses> the token"
    append_run(Commands(tmp_path / "clinic.duckdb"), make_run(NOON, 10, 99) | {"reason": reason})
    page = draw(tmp_path)
    assert "The last run failed: The API &lt;refuses&gt; the token" in page.text
    assert f"failed: {reason}" in page.words
    assert page.text.count('<rect class="failed"') == 2 * 2


def test_the_report_says_that_source_and_destination_differ(tmp_path: Path) -> None:
    assert "make full-refresh" not in draw(tmp_path, 1).text
    page = draw(tmp_path, change="update main.syncs set total_items_after = 12345")
    assert "The source had 12,345 patients" in page.text


def test_a_report_without_runs_says_so(tmp_path: Path) -> None:
    page = draw(tmp_path)
    assert "Nothing was loaded yet." in page.words
    assert page.charts == []


def test_a_report_on_a_file_without_tables_names_the_command_that_makes_them(tmp_path: Path) -> None:
    path = tmp_path / "clinic.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(Failure, match=f"{path} lacks the tables of a finished run; `make init-db` makes them"):
        show_status(Commands(path))


@pytest.mark.parametrize(
    ("seconds", "age"), [(-5, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (172800, "2 days")]
)
def test_an_age_is_shown_in_its_largest_unit(seconds: int, age: str) -> None:
    assert describe_age(timedelta(seconds=seconds)) == age
