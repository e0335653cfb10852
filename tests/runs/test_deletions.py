"""Patients who are deleted from the source, and return: their history is closed and opened again."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import insert, select
from support import Destination, bundled_api

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


def current_ids(destination: Destination) -> set[int]:
    return {patient for (patient,) in destination.query("select patient_id from main.patients")}


def test_a_deleted_patient_is_closed_and_one_that_returns_is_opened_again(destination: Destination, api: Api) -> None:
    run(destination, api)
    with transaction(api.database) as connection:
        rows = {row["id"]: dict(row) for row in connection.execute(select(patients_table)).mappings()}
    removed = change(api.database, updates=0, creations=0, removals=3, seed=1).removed
    assert "0 new, 0 changed, 3 deleted" in run(destination, api)
    assert current_ids(destination) == api.patients().keys()
    with transaction(api.database) as connection:
        connection.execute(insert(patients_table), [rows[patient] for patient in removed[:2]])
    assert "0 new, 2 changed, 0 deleted, 2 recovered, 0 rejected" in run(destination, api)
    assert current_ids(destination) == api.patients().keys()
    versions = destination.query(f"""
        select patient_id, version_number, ended_by, is_current from main.patients_history
        where patient_id in {tuple(removed)} order by all
    """)
    back = [
        (patient, number, ended, number == 2)
        for patient in removed[:2]
        for number, ended in ((1, "deletion"), (2, None))
    ]
    assert versions == [*back, (removed[2], 1, "deletion", False)]


def test_an_emptied_source_closes_nobody(destination: Destination, api: Api) -> None:
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
    outcome = destination.run("run", f"--api-url={api.url}", TAP_TOUBIB_MAX_DELETED_PERCENT="100")
    assert "0 new, 0 changed, 400 deleted" in outcome.stdout
    assert current_ids(destination) == set()


@pytest.mark.parametrize("lost", ["", ".meltano.db"], ids=["data", "state"])
def test_data_without_state_and_state_without_data_are_noticed_and_fixed(
    destination: Destination, api: Api, lost: str
) -> None:
    assert NOTICED not in run(destination, api)
    change(api.database, updates=3, creations=2, removals=2, seed=1)
    destination.path.with_name(destination.path.name + lost).unlink()
    assert NOTICED in run(destination, api)
    assert current_ids(destination) == api.patients().keys()
    assert "0 new, 0 changed, 0 deleted" in run(destination, api)


def test_an_older_copy_of_the_data_is_noticed_and_fixed(destination: Destination, api: Api) -> None:
    run(destination, api)
    copy = shutil.copy(destination.path, destination.path.parent / "copy.duckdb")
    change(api.database, updates=0, creations=0, removals=2, seed=1)
    assert "2 deleted" in run(destination, api)
    shutil.move(copy, destination.path)
    printed = run(destination, api)
    assert NOTICED in printed
    assert "2 deleted" in printed
    assert current_ids(destination) == api.patients().keys()
    assert NOTICED not in run(destination, api)


def test_a_first_load_whose_data_were_removed_midway_begins_again(destination: Destination, api: Api) -> None:
    run(destination, api)
    with closing(sqlite3.connect(f"{destination.path}.meltano.db")) as system:
        query = "select completed_state from state"
        state = json.loads(system.execute(query).fetchone()[0])
        del state["singer_state"]["bookmarks"]["patients"]["synced_at"]
        system.execute("update state set completed_state = '{}', partial_state = ?", [json.dumps(state)])
        system.commit()
    destination.path.unlink()
    assert NOTICED in run(destination, api)
    assert current_ids(destination) == api.patients().keys()


def test_a_full_refresh_finds_who_was_deleted(destination: Destination, api: Api) -> None:
    run(destination, api)
    change(api.database, updates=0, creations=0, removals=2, seed=1)
    outcome = destination.make("full-refresh", api_url=api.url)
    assert "0 new, 0 changed, 2 deleted" in outcome.stdout
    assert current_ids(destination) == api.patients().keys()
