"""What is told of a destination after its runs: `make status` and `make report`."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import duckdb
import pytest
from support import Destination, stand_in


class References(HTMLParser):
    """Collects what a page would load, and the words in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "xlink:href"}]
        self.loaded += [tag] if tag in {"script", "link", "iframe"} else []

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Destination:
    """A destination after two runs, of which the second saw three changes."""
    folder = tmp_path_factory.mktemp("reports")
    destination = Destination(folder / "clinic.duckdb")
    with stand_in(folder / "toubib.sqlite", 120) as api:
        assert destination.make("run", api_url=api.url).returncode == 0
        for patient_id in (1, 2, 3):
            api.update(patient_id, first_name="Changed", total_visits=77)
        api.create(email="n@example.org", first_name="N", last_name="N", date_of_birth="2000-01-01", total_visits=0)
        assert destination.make("run", api_url=api.url).returncode == 0
    return destination


def test_status_tells_the_runs_and_how_the_destination_stands(loaded: Destination) -> None:
    outcome = loaded.make("status")
    assert outcome.returncode == 0, outcome.stdout
    runs = [re.split(r"\s*│\s*", line)[3:8] for line in outcome.stdout.splitlines() if "first_load" in line]
    assert runs == [["first_load", "6", "120", "0", "0"]]
    assert re.search(r"The source as of [-\d: ]+ UTC, 00:00:\d\d ago: 121 patients", outcome.stdout)
    assert re.search(r"121 living patients, 124 versions, \d+ observations, 0 rejected records", outcome.stdout)
    assert re.search(r"clinic.duckdb has \d+\.\d MB", outcome.stdout)


def test_status_of_nothing(destination: Destination) -> None:
    outcome = destination.make("status")
    assert outcome.returncode != 0
    assert f"Error: There is no {destination.path} yet" in outcome.stdout
    destination.path.parent.mkdir()
    duckdb.connect(str(destination.path)).close()
    assert "Error: " in destination.make("status").stdout
    assert destination.make("init-db").returncode == 0
    assert "Nothing was loaded yet." in destination.make("status").stdout


def test_the_report_is_one_file_that_loads_nothing(loaded: Destination) -> None:
    outcome = loaded.make("report")
    assert outcome.returncode == 0, outcome.stdout
    page = loaded.path.with_name("clinic.report.html").read_text()
    references = References(page)
    assert references.loaded == []
    assert "url(http" not in page
    assert page.count("<svg") == 4
    assert {"121", "124", "first_name", "total_visits", "new", "first_load", "changes"} <= set(references.words)


def test_the_report_shows_each_change_of_a_field(loaded: Destination) -> None:
    assert loaded.make("report").returncode == 0
    page = loaded.path.with_name("clinic.report.html").read_text()
    bars = re.findall(r'changes: (\d+); field: (\w+)"', page)
    assert sorted(bars) == [("3", "first_name"), ("3", "total_visits")]
