"""Runs that cannot work: they say why in one line, and leave the destination and its state as they were."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from story import Story
from support import Destination, bundled_api

from tap_toubib.testing import Api, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def api() -> Iterator[Api]:
    """A healthy API of made-up patients, which shows none."""
    api = Api(document={"info": {"x-bundled-api": True}})
    with serving(api):
        yield api


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, story: Story) -> Destination:
    return story.copy_destination(tmp_path_factory.mktemp("loaded") / "folder")


@pytest.fixture(autouse=True)
def _untouched(loaded: Destination) -> Iterator[None]:
    """Check that a test leaves data and state unchanged."""
    before = contents(loaded)
    yield
    assert contents(loaded) == before


def contents(destination: Destination) -> list[Any]:
    with closing(sqlite3.connect(f"{destination.path}.meltano.db")) as system_database:
        state = system_database.execute("select state_id, completed_state from state").fetchall()
    tables = ("raw.patients", "raw.rejected_records", "raw.syncs", "main.patients", "main.patients_history")
    return [state, *(destination.rows(table) for table in tables)]


def said(destination: Destination, api_url: str) -> str:
    """Return the last line of a failed run."""
    outcome = destination.make("run", api_url=api_url)
    assert outcome.returncode != 0
    assert "Traceback" not in outcome.stdout
    assert "a secret" not in outcome.stdout
    lines = [line for line in outcome.stdout.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("status", [401, pytest.param(404, marks=pytest.mark.complete)])
def test_patients_that_cannot_be_read_are_an_error_of_one_line(loaded: Destination, api: Api, status: int) -> None:
    api.before_each = lambda: api.fail(status, times=1, body=b'{"detail": "a secret"}')
    line = said(loaded, api.url)
    assert f"answered {status}" in line
    assert "check" in line


@pytest.mark.parametrize("command", ["status", "report", "rebuild-history", "docs", "sql"])
def test_a_destination_that_does_not_exist_is_an_error_of_one_line(tmp_path: Path, command: str) -> None:
    path = tmp_path / "mistyped.duckdb"
    outcome = Destination(path).run(command)
    assert outcome.returncode != 0
    assert outcome.stdout == f"Error: {path} does not exist yet; `make run` creates it.\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.complete
def test_a_state_that_cannot_be_read_is_an_error_of_one_line(loaded: Destination, story: Story, tmp_path: Path) -> None:
    copy = loaded.copy(tmp_path / "patients.duckdb")
    shutil.copy(story.database, tmp_path)
    state = Path(f"{copy.path}.meltano.db")
    state.write_text("no database\n" * 1000)
    with bundled_api(tmp_path / story.database.name) as bundled:
        assert f"Error: Cannot read {state}: file is not a database" in said(copy, bundled.url)
        state.unlink()
        assert copy.make("run", api_url=bundled.url).returncode == 0
        assert copy.changes() == {}


def test_an_invalid_setting_is_an_error_of_one_line(
    loaded: Destination, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAP_TOUBIB_PAGE_SIZE", "0")
    assert "0 is less than the minimum of 2 in config['page_size']" in said(loaded, api.url)
