"""Columns that appear in the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tap_toubib.testing import Api, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import Destination

pytestmark = pytest.mark.complete
TEXT = {"type": "string"}
SORTABLE = ("id", "email", "created_at", "updated_at")


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    api.offer(*SORTABLE, email=TEXT)
    for key in range(1, 51):
        api.add(key, created_at="2024-01-01T00:00:00Z", updated_at="2024-01-01T00:00:00Z", email=f"{key}@example.org")
    with serving(api):
        yield api


def update(api: Api, key: int, **columns: Any) -> None:
    api.rows[key - 1] |= {"updated_at": datetime.now(UTC).isoformat(), **columns}


def load(destination: Destination, api: Api) -> dict[str, int]:
    """Run, and return the numbers of changes."""
    outcome = destination.run("run", API_BASEURL=api.url)
    assert outcome.returncode == 0, outcome.stdout
    return destination.changes()


def test_new_columns_are_loaded_and_tracked_by_the_next_run(destination: Destination, api: Api) -> None:
    load(destination, api)
    assert "insurance" not in destination.columns("main.patients")
    new: dict[str, Any] = {
        "insurance": TEXT | {"description": "The insurer's number"},
        "consented": {"type": "boolean"},
        "prénom": TEXT,
        "mother's name": TEXT,
    }
    api.offer(*SORTABLE, nullable=tuple(new), email=TEXT, **new)
    for row in api.rows:
        row.update(dict.fromkeys(new))
    update(api, 3, **{"insurance": "A-17", "consented": True, "prénom": "Zoé", "mother's name": "O'Hara"})
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
