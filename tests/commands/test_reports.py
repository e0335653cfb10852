"""What is told of a destination after its runs: `make status` and `make report`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import duckdb
import pytest
from report_databases import make_database
from story import Story
from support import Destination

from toubib_connector.destination import Destination as Commands
from toubib_connector.errors import Failure
from toubib_connector.log import describe_age
from toubib_connector.recorded_runs import prepare_runs
from toubib_connector.report import draw_report
from toubib_connector.status import show_status

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_process import Dbt


class Page(HTMLParser):
    """The report as a browser reads it: what it would load, its words, its charts and the changes in the first."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = page
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
        # each is drawn twice
        self.changes = set(re.findall(r"Field: ([^;\"]+); changes: (\d+)", page))
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "xlink:href"}]
        self.loaded += [tag] if tag in {"script", "link", "iframe"} else []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, story: Story) -> Destination:
    return story.copy_destination(tmp_path_factory.mktemp("reports") / "folder")


def test_status_tells_the_runs_and_how_the_destination_stands(loaded: Destination) -> None:
    outcome = loaded.make("status")
    assert outcome.returncode == 0, outcome.stdout
    [run] = [line.split() for line in outcome.stdout.splitlines() if "first_load" in line]
    *_, kind, _, read, rejected, deleted, requests = run
    assert [kind, read, rejected, deleted, requests] == ["first_load", "1,234", "0", "0", "17"]
    assert re.search(r"The source as of [-\d: ]+ UTC, \d+ \w+ ago: 1,235 patients", outcome.stdout)
    assert re.search(r"1,235 current patients, 1,239 versions, [\d,]+ observations, 0 rejected records", outcome.stdout)
    assert re.search(r"clinic.duckdb has \d+\.\d MB", outcome.stdout)


def test_status_of_nothing(destination: Destination, dbt: Dbt) -> None:
    outcome = destination.make("status")
    assert outcome.returncode != 0
    assert f"Error: {destination.path} does not exist yet; `make run` creates it." in outcome.stdout
    destination.path.parent.mkdir()
    duckdb.connect(str(destination.path)).close()
    assert "Error: " in destination.make("status").stdout
    dbt.build(destination.path)
    with duckdb.connect(str(destination.path)) as connection:
        prepare_runs(connection)
    assert "Nothing was loaded yet" in destination.make("status").stdout


def test_status_tells_how_the_destination_stands_after_days_of_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_database(tmp_path / "clinic.duckdb", 2)
    with duckdb.connect(str(tmp_path / "clinic.duckdb")) as connection:
        connection.execute("create table raw.patients as select 1 as id")
        connection.execute("""
            insert into bookkeeping.runs
            select started_at, started_at + interval 1 second, 'failed', null, 'down', 'hourly'
            from (select now() at time zone 'UTC' + to_hours(number) as started_at from range(12) as numbers (number))
        """)
        show_status(connection)
    printed = capsys.readouterr().out
    assert printed.count("failed: down") == 10
    assert "The source as of" in printed


def test_make_report_leaves_one_file_that_loads_nothing(loaded: Destination) -> None:
    outcome = loaded.make("report")
    assert outcome.returncode == 0, outcome.stdout
    path = loaded.path.with_name("clinic.report.html")
    assert str(path) in outcome.stdout
    page = Page(path.read_text())
    assert page.loaded == []
    assert "url(http" not in page.text
    assert {"1,235", "1,239", "first_load", "changes"} <= set(page.words)
    assert "bundled API, whose patients are made up" in page.text
    assert sorted(page.changes) == [("last_name (3)", "3")]


def draw(tmp_path: Path, days: int = 0, change: str = "") -> Page:
    """Return the report of a destination of so many days, after a change to its tables."""
    make_database(tmp_path / "clinic.duckdb", days)
    with duckdb.connect(str(tmp_path / "clinic.duckdb")) as connection:
        connection.execute(change) if change else None
        return Page(draw_report(connection, "clinic.duckdb"))


@pytest.fixture(scope="module")
def one_day(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return draw(tmp_path_factory.mktemp("one_day"), 1)


@pytest.fixture(scope="module")
def two_years(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return draw(tmp_path_factory.mktemp("two_years"), 730)


@pytest.mark.parametrize("destination", ["one_day", "two_years"])
def test_a_chart_names_each_day_once_and_ends_today(request: pytest.FixtureRequest, destination: str) -> None:
    page: Page = request.getfixturevalue(destination)
    assert len(page.charts) == 2 * 4
    today = datetime.now(UTC)
    tomorrow = today + timedelta(days=1)
    for chart in page.charts:
        assert "Day" in chart or "Start of the run" in chart
        labels = re.findall(r">(\d+ [A-Z][a-z]{2}|[A-Z][a-z]{2} \d{4})</text>", chart)
        assert len(labels) >= 3
        assert len(labels) == len(set(labels))
        [last] = re.findall(r"for a utc scale with values from [^\"]*? to ([^\"]+)\"", chart)
        assert last in {f"{day:{form}}" for day in (today, tomorrow) for form in ("%-d %B", "%B %Y")}


def test_the_patients_are_drawn_until_today_where_nothing_happened_lately(tmp_path: Path) -> None:
    page = draw(tmp_path, 30, change="delete from main.patients_history where created_at > now() - interval 60 days")
    [last] = re.findall(r"for a utc scale with values from [^\"]*? to ([^\"]+)\"", page.charts[0])
    assert last == f"{datetime.now(UTC):%B %Y}"


def test_the_scale_of_the_patients_ends_a_little_above_their_number(two_years: Page) -> None:
    [figure] = re.findall(r"<dt>current patients</dt><dd>([\d,]+)</dd>", two_years.text)
    patients = int(figure.replace(",", ""))
    [top] = re.findall(r"'Current patients' for a linear scale with values from 0 to ([\d,]+)", two_years.charts[0])
    assert patients <= int(top.replace(",", "")) < 1.5 * patients


def test_the_first_day_is_drawn_no_wider_than_a_day_among_fourteen(one_day: Page) -> None:
    [narrow, wide] = [chart for chart in one_day.charts if "changes:" in chart]
    for chart, width in (narrow, 324), (wide, 800):
        bars = {float(bar) for bar in re.findall(r'aria-label="[^"]*changes: [^"]*"[^>]* d="M[^"h]*h([\d.]+)', chart)}
        assert bars
        assert max(bars) < width / 14


def test_the_report_is_drawn_in_the_colours_of_the_page(two_years: Page) -> None:
    assert "prefers-color-scheme: dark" in two_years.text
    colours = {colour for chart in two_years.charts for colour in re.findall(r'(?:fill|stroke)="([^"]+)"', chart)}
    assert {colour for colour in colours if not colour.startswith("var(--")} <= {"none", "transparent"}
    assert {name for colour in colours for name in re.findall(r"var\((--[\w-]+)\)", colour)} <= set(
        re.findall(r"(--[\w-]+):", two_years.text.split("prefers-color-scheme: dark")[1])
    )


def test_the_report_names_changes_by_id_and_field_without_values(tmp_path: Path) -> None:
    page = draw(tmp_path, 2)
    assert "the old value" not in page.text
    assert "the new value" not in page.text
    with duckdb.connect(str(tmp_path / "clinic.duckdb")) as connection:
        query = "select patient_id, field from main.patient_changes order by changed_at desc limit 3"
        for patient_id, field in connection.execute(query).fetchall():
            assert re.search(rf"<td[^>]*>{patient_id}</td><td[^>]*>[^<]*{field}", page.text)


def test_the_report_says_how_the_last_run_ended(tmp_path: Path, one_day: Page) -> None:
    assert "The last run succeeded." in one_day.text
    failed = """
        insert into bookkeeping.runs select now() at time zone 'UTC', now() at time zone 'UTC', 'failed', 0,
        'The API <refuses> the token', 'command'
    """
    page = draw(tmp_path, 1, change=failed)
    assert "The last run failed: The API &lt;refuses&gt; the token" in page.text
    assert "failed: The API <refuses> the token" in page.words


def test_a_file_that_was_made_without_the_connector_tells_what_makes_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "clinic.duckdb"
    make_database(path, 1)
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop schema bookkeeping cascade")
    destination = Commands(path)
    told = f"{path} lacks the tables of a finished run; `make init-db` makes them"
    with pytest.raises(Failure, match=told), destination.connect_for_reading() as connection:
        draw_report(connection, path.name)
    with duckdb.connect(str(path)) as connection:
        prepare_runs(connection)
    with destination.connect_for_reading() as connection:
        page = Page(draw_report(connection, path.name))
    assert "first_load" in page.words
    assert "The last run succeeded." in page.text


def test_the_report_says_that_source_and_destination_differ(tmp_path: Path, one_day: Page) -> None:
    assert "make full-refresh" not in one_day.text
    page = draw(tmp_path, 1, change="update main.syncs set total_items_after = 12345")
    assert "The source had 12,345 patients" in page.text


def test_the_report_of_nothing_says_so(tmp_path: Path) -> None:
    page = draw(tmp_path)
    assert "Nothing was loaded yet." in page.words
    assert page.charts == []


def test_what_changes_least_is_drawn_as_other_fields(tmp_path: Path) -> None:
    many = """
        insert into main.patient_changes
        select 1, 'field_' || number, '', '', now() at time zone 'UTC' - interval 1 minute
        from range(1, 21) as numbers(number), range(number)
    """
    page = draw(tmp_path, change=many)
    assert ("field_20 (20)", "20") in page.changes
    assert ("8 other fields (36)", "36") in page.changes
    assert len(page.changes) == 13


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(-5, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (172800, "2 days")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, age: str) -> None:
    assert describe_age(timedelta(seconds=seconds)) == age
