"""Patients who are deleted from the source, and return: their history is closed and opened again."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from support import Destination, as_loaded, bundled_api

from toubib_api import change
from toubib_api.database import patients_table, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support import Api

pytestmark = pytest.mark.complete
NOTICED = "Reading every patient again"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with bundled_api(tmp_path / "toubib.sqlite", 400) as running:
        yield running


def run(destination: Destination, api: Api, *variables: str) -> str:
    outcome = destination.make("run", *variables, api_url=api.url)
    assert outcome.returncode == 0, outcome.stdout
    assert "Warning: The source has" not in outcome.stdout
    return outcome.stdout


def test_an_emptied_source_ends_no_version(destination: Destination, api: Api) -> None:
    run(destination, api)
    before = destination.rows("main.patients_history")
    with transaction(api.database) as connection:
        connection.execute(patients_table.delete())
    outcome = destination.make("run", api_url=api.url)
    assert outcome.returncode != 0
    [line] = [line for line in outcome.stdout.splitlines() if line.startswith("Error: ")]
    assert line.startswith("Error: 400 of 400 patients are not in the source any more")
    assert "TAP_TOUBIB_MAX_DELETED_PERCENT=100" in line
    assert destination.rows("main.patients_history") == before
    outcome = destination.run("run", API_BASEURL=api.url, TAP_TOUBIB_MAX_DELETED_PERCENT="100")
    assert outcome.returncode == 0, outcome.stdout
    assert destination.changes() == {"deleted": 400}
    assert destination.patients() == {}


def test_lost_states_lost_data_and_older_copies_are_noticed_and_fixed(destination: Destination, api: Api) -> None:
    assert NOTICED not in run(destination, api)
    copy = shutil.copy(destination.path, destination.path.parent / "copy.duckdb")
    change(api.database, updates=3, creations=2, removals=2, seed=1)

    destination.path.with_name(f"{destination.path.name}.meltano.db").unlink()
    assert NOTICED in run(destination, api)
    assert destination.changes() == {"new": 2, "changed": 3, "deleted": 2}

    shutil.move(copy, destination.path)
    assert NOTICED in run(destination, api)
    # the copy lacks patients older than the bookmark, as if an earlier run had missed them
    assert destination.changes() == {"recovered": 2, "changed": 3, "deleted": 2}
    assert destination.patients() == as_loaded(api.patients().values())
    assert NOTICED not in run(destination, api)
    assert destination.changes() == {}

    destination.path.unlink()
    assert NOTICED in run(destination, api)
    assert destination.changes() == {"new": 400}


def test_a_full_refresh_by_meltano_itself_is_repaired_by_the_next_run(destination: Destination, api: Api) -> None:
    run(destination, api)
    change(api.database, updates=0, creations=0, removals=3, seed=1)
    job = ("--full-refresh", "tap-toubib", "target-duckdb", "dbt:build")
    outcome = destination.meltano("run", *job, API_BASEURL=api.url)
    assert "FAIL 1 a_run_without_state_needs_a_full_refresh" in outcome.stdout
    assert NOTICED in run(destination, api)
    assert destination.patients() == as_loaded(api.patients().values())
    assert NOTICED not in run(destination, api)
