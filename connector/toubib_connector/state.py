"""Whether the Singer state and the destination still belong together."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
from pyroaring import BitMap64

if TYPE_CHECKING:
    from pathlib import Path

    from toubib_connector.destination import Destination

LIVING = """
select id from raw.patients
where typeof(id) = 'BIGINT'
group by id
having arg_max(_sdc_deleted_at is null, _sdc_extracted_at)
"""

STATE_ID = "prod:tap-toubib-to-target-duckdb"


def is_of_data(destination: Destination) -> bool:
    """Tell whether the file holds what the state says was loaded, and nothing of which the state knows nothing.

    It does not after one of the two was removed, or replaced by an older copy.

    Raises:
        Failure: The file cannot be opened.
    """
    remembered = _remembered(destination)
    synced_at, is_begun = _held(destination)
    if "synced_at" in remembered:
        loaded_until = datetime.fromisoformat(remembered["synced_at"]).replace(tzinfo=None)
        return synced_at is not None and synced_at >= loaded_until
    # a first load that was interrupted
    if remembered.get("living") or remembered.get("first_load"):
        return is_begun
    return synced_at is None


def write_state_of_data(destination: Destination) -> Path:
    """Write a state, for Meltano, with the ids of the living patients of the file: by them it can be told who is gone.

    Raises:
        Failure: The file cannot be opened.
    """
    with destination.connect(read_only=False) as connection:
        try:
            patients = connection.execute(LIVING).fetchall()
        except duckdb.CatalogException:  # a new file
            patients = []
    living = b64encode(BitMap64(patient for (patient,) in patients).serialize()).decode()
    state = destination.scratch / "state.json"
    state.write_text(json.dumps({"singer_state": {"bookmarks": {"patients": {"living": living}}}}))
    return state


def discard_half_made(destination: Destination) -> None:
    """Remove a system database without a state: Meltano cannot use one that a kill or a full disk left half made."""
    path = destination.system_database
    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as connection:
        try:
            has_state = connection.execute("select 1 from state").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            has_state = None
    if not has_state:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _remembered(destination: Destination) -> dict[str, Any]:
    """Return the state of the patients in Meltano's system database, empty if there is none."""
    if not destination.system_database.exists():
        return {}
    with closing(sqlite3.connect(f"file:{destination.system_database}?mode=ro", uri=True)) as connection:
        try:
            query = "select completed_state, partial_state from state where state_id = ?"
            states = connection.execute(query, [STATE_ID]).fetchone() or ()
        except sqlite3.OperationalError:  # there is no such table before the first run
            states = ()
    remembered: dict[str, Any] = {}
    for state in states:
        remembered |= json.loads(state or "{}").get("singer_state", {}).get("bookmarks", {}).get("patients", {})
    return remembered


def _held(destination: Destination) -> tuple[datetime | None, bool]:
    """Return when the last run began that the file holds whole, and whether it holds any patient."""
    if not destination.path.exists():
        return None, False
    with destination.connect(read_only=True) as connection:
        try:
            query = "select (select max(started_at) from raw.syncs), exists (from raw.patients)"
            return connection.execute(query).fetchone() or (None, False)
        except duckdb.CatalogException:
            return None, False
