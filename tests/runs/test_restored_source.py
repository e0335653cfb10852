"""A source restored from a backup: older contents under an older `updated_at`, patients deleted and patients back."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import Api, Destination, as_loaded, bundled_api

from toubib_api import change

pytestmark = pytest.mark.complete


def restore(backup: Path, database: Path) -> None:
    """Put the contents of a backup into a database that is being served."""
    with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)


def assert_equals_the_source(destination: Destination, api: Api) -> None:
    assert destination.patients() == as_loaded(api.patients().values())


def test_a_full_refresh_matches_a_restored_source_and_later_runs_still_do(
    destination: Destination, tmp_path: Path
) -> None:
    with bundled_api(tmp_path / "toubib.sqlite", 300) as api:
        assert destination.run("run", API_BASEURL=api.url).returncode == 0
        backup = Path(shutil.copy(api.database, tmp_path / "backup.sqlite"))
        changed = change(api.database, updates=20, creations=5, removals=3, seed=1)
        assert destination.run("run", API_BASEURL=api.url).returncode == 0
        assert_equals_the_source(destination, api)
        before = destination.query("select patient_version_id from main.patients_history")

        restore(backup, api.database)
        outcome = destination.run("run", "--full-refresh", API_BASEURL=api.url)
        assert outcome.returncode == 0, outcome.stdout
        expected = {"changed": len(changed.updated), "deleted": len(changed.created), "returned": len(changed.removed)}
        assert destination.changes() == expected
        assert_equals_the_source(destination, api)

        api.update(7, last_name="After-the-restore")
        assert destination.run("run", API_BASEURL=api.url).returncode == 0
        assert destination.changes() == {"changed": 1}
        assert_equals_the_source(destination, api)

        history = destination.rows("main.patients_history")
        assert {*before} <= {(row["patient_version_id"],) for row in history}
        assert destination.run("rebuild-history").returncode == 0
        assert destination.rows("main.patients_history") == history
        assert_equals_the_source(destination, api)
