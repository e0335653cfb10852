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

STATE_ID = "prod:tap-toubib-to-target-duckdb"


def is_ahead_of_data(destination: Destination) -> bool:
    """Tell whether the state says that more was loaded than the file holds: it was removed, or an older copy put back.

    Raises:
        Failure: The file cannot be opened.
    """
    remembered = (_remembered(destination) or {}).get("replication_key_value")
    if remembered is None:
        return False
    (held,) = _last_sync(destination) or (None,)
    return held is None or held < datetime.fromisoformat(remembered).replace(tzinfo=None)


def is_behind_data(destination: Destination) -> bool:
    """Tell whether the file holds completed runs of which there is no state: it was removed, or is another file's.

    Raises:
        Failure: The file cannot be opened.
    """
    return _last_sync(destination) is not None and _remembered(destination) is None


def write_state_of_data(destination: Destination) -> Path:
    """Write a state, for Meltano, with the ids of the living patients of the file: by them it can be told who is gone.

    Raises:
        Failure: The file cannot be opened.
    """
    with destination.connect(read_only=True) as connection:
        patients = connection.execute("select patient_id from main.patients").fetchall()
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


def _remembered(destination: Destination) -> dict[str, Any] | None:
    """Return the state of the patients in Meltano's system database, None if there is none."""
    if not destination.system_database.exists():
        return None
    with closing(sqlite3.connect(f"file:{destination.system_database}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("select completed_state from state where state_id = ?", [STATE_ID]).fetchone()
        except sqlite3.OperationalError:  # there is no such table before the first run
            return None
    state: dict[str, Any] = json.loads(row[0] or "{}") if row else {}
    patients: dict[str, Any] | None = state.get("singer_state", {}).get("bookmarks", {}).get("patients")
    return patients


def _last_sync(destination: Destination) -> tuple[datetime | None] | None:
    """Return the bookmark that the last run wrote into the destination, with the data that it stands for."""
    if not destination.path.exists():
        return None
    with destination.connect(read_only=True) as connection:
        try:
            query = "select bookmark_after from raw.syncs order by started_at desc limit 1"
            return connection.execute(query).fetchone()
        except duckdb.CatalogException:
            return None
