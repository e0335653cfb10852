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

from toubib_connector.log import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from toubib_connector.destination import Destination

LIVING = """
select id from raw.patients
where typeof(id) = 'BIGINT'
group by id
having arg_max(_sdc_deleted_at is null, _sdc_extracted_at)
"""

NEWEST_PATIENT = "select max(_sdc_extracted_at) from raw.patients"
NEWEST_SYNC = "select max(started_at) from raw.syncs"
END_OF_SYNC = "select max(ended_at) from raw.syncs where started_at = ?"

STATE_ID = "prod:tap-toubib-to-target-duckdb"


def is_of_data(destination: Destination) -> bool:
    """Tell whether the file holds what the state says was loaded, and no run of which the state knows nothing.

    It does not after one of the two was removed, or the file replaced by an older copy.

    Raises:
        Failure: The file cannot be opened.
    """
    remembered = _remembered(destination)
    synced_at = _instant(destination, NEWEST_SYNC)
    if "synced_at" in remembered:
        return synced_at is not None and synced_at >= _naive(remembered["synced_at"])
    if remembered.get("living") or remembered.get("first_load"):
        # a first load that was interrupted
        return _instant(destination, NEWEST_PATIENT) is not None
    return synced_at is None


def knows_all_data(destination: Destination) -> bool:
    """Tell whether the state was written behind all patients that the file holds.

    It was not if a run was killed, or failed, between the two, or if the state was replaced by an older copy.

    Raises:
        Failure: The file cannot be opened.
    """
    loaded_at = _instant(destination, NEWEST_PATIENT)
    if loaded_at is None:
        return True
    synced_at = _remembered(destination).get("synced_at")
    ended_at = synced_at and _instant(destination, END_OF_SYNC, _naive(synced_at))
    return bool(ended_at and loaded_at <= ended_at)


def write_state(destination: Destination, *, anew: bool) -> Path:
    """Write a state, for Meltano, with the ids of the living patients of the file: by them it can be told who is gone.

    Args:
        destination: Whose state.
        anew: Whether everything else in the state is left out: then all patients are read.

    Raises:
        Failure: The file cannot be opened.
    """
    with destination.connect(read_only=False) as connection:
        try:
            ids = BitMap64(patient for (patient,) in connection.execute(LIVING).fetchall())
        except duckdb.CatalogException:  # a new file
            ids = BitMap64()
    patients = {} if anew else _remembered(destination)
    patients["living"] = b64encode(ids.serialize()).decode() if ids else ""
    state = destination.scratch / "state.json"
    state.write_text(json.dumps({"singer_state": {"bookmarks": {"patients": patients}}}))
    return state


def discard_half_made(destination: Destination) -> None:
    """Remove a system database without a state: Meltano cannot use one that a kill or a full disk left half made."""
    path = destination.system_database
    if path.exists() and not _states(destination, "select 1 from state"):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _remembered(destination: Destination) -> dict[str, Any]:
    """Return the state of the patients in Meltano's system database, empty if there is none."""
    if not destination.system_database.exists():
        return {}
    query = "select completed_state, partial_state from state where state_id = ?"
    remembered: dict[str, Any] = {}
    for state in _states(destination, query, STATE_ID):
        remembered |= json.loads(state or "{}").get("singer_state", {}).get("bookmarks", {}).get("patients", {})
    return remembered


def _states(destination: Destination, query: str, *parameters: str) -> tuple[Any, ...]:
    """Return the first row that a query of Meltano's states gives, nothing if there is none.

    Raises:
        Failure: The system database cannot be read.
    """
    path = destination.system_database
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute(query, parameters).fetchone() or ()
        except sqlite3.Error as error:
            if "no such table" in str(error):  # before the first run
                return ()
            raise Failure(
                f"Cannot read {path}: {error}. If it is damaged, remove it: the next run reads every patient again."
            ) from error


def _instant(destination: Destination, query: str, *parameters: datetime) -> datetime | None:
    """Return the instant that a query of the log gives, None if there is none."""
    if not destination.path.exists():
        return None
    with destination.connect(read_only=True) as connection:
        try:
            row = connection.execute(query, parameters).fetchone()
        except duckdb.CatalogException:
            return None
    return row[0] if row else None


def _naive(instant: str) -> datetime:
    """Return an instant as the log has it: in UTC, without saying so."""
    return datetime.fromisoformat(instant).replace(tzinfo=None)
