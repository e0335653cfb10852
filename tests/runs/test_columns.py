"""Columns that appear in the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tap_toubib.testing import LATER, TEXT, Api, fill, serving

if TYPE_CHECKING:
    from support import Destination

SORTABLE = ("id", "email", "created_at", "updated_at")


def load(destination: Destination, api: Api) -> dict[str, int]:
    """Run, and return the numbers of changes."""
    outcome = destination.run("run", API_BASEURL=api.url)
    assert outcome.returncode == 0, outcome.stdout
    return destination.changes()


@pytest.mark.complete
def test_new_columns_are_loaded_and_tracked_by_the_next_run(destination: Destination) -> None:
    api = Api()
    api.offer(*SORTABLE, email=TEXT)
    fill(api, 20)
    for row in api.rows:
        row["email"] = f"{row['id']}@example.org"
    new: dict[str, Any] = {
        "insurance": TEXT | {"description": "The insurer's number"},
        "consented": {"type": "boolean"},
        "prénom": TEXT,
        "mother's name": TEXT,
    }
    with serving(api):
        load(destination, api)
        assert "insurance" not in destination.columns("main.patients")
        api.offer(*SORTABLE, nullable=tuple(new), email=TEXT, **new)
        for row in api.rows:
            row.update(dict.fromkeys(new))
        api.rows[2] |= {"insurance": "A-17", "consented": True, "prénom": "Zoé", "mother's name": "O'Hara"}
        api.rows[2]["updated_at"] = LATER
        assert load(destination, api) == {"changed": 1}

    for table in ("main.patients", "main.patients_history"):
        types = destination.columns(table)
        assert (types["insurance"], types["consented"]) == ("VARCHAR", "BOOLEAN")
        schema, name = table.split(".")
        comments = f"""
            select comment from duckdb_columns()
            where schema_name = '{schema}' and table_name = '{name}' and column_name in ('consented', 'insurance')
            order by column_name
        """
        assert destination.query(comments) == [("As the source has it.",), ("The insurer's number",)]
    versions = destination.query("""
        select version_number, insurance, consented, prénom, "mother's name" from main.patients_history
        where patient_id = 3 order by 1
    """)
    assert versions == [(1, None, None, None, None), (2, "A-17", True, "Zoé", "O'Hara")]


@pytest.mark.complete
def test_a_new_column_is_tracked_where_every_run_reads_everything(destination: Destination) -> None:
    without = ("created_at", "updated_at")
    api = Api(rows=[{"id": number, "email": f"{number}@example.org"} for number in range(1, 21)])
    api.offer("id", without=without, email=TEXT)
    with serving(api):
        load(destination, api)
        api.offer("id", without=without, nullable=("insurance",), email=TEXT, insurance=TEXT)
        for row in api.rows:
            row["insurance"] = "A-16"
        # without an `updated_at`, a value in a new column counts as a change
        assert load(destination, api) == {"changed": 20}
        api.rows[4]["insurance"] = "A-17"
        assert load(destination, api) == {"changed": 1}
    changes = "select patient_id, old, new from main.patient_changes where field = 'insurance' and old is not null"
    assert destination.query(changes) == [(5, "A-16", "A-17")]
    # repeated observations are dropped
    assert destination.query("select count(*) from raw.patients") == [(20 + 20 + 1,)]
