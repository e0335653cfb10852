"""Whether the Singer state and the destination still belong together."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from toubib_connector.destination import Destination

STATE_ID = "prod:tap-toubib-to-target-duckdb"


def is_ahead_of_data(destination: Destination) -> bool:
    """Tell whether the state says that more was loaded than the file holds: it was removed, or an older copy put back.

    Raises:
        Failure: The file cannot be opened.
    """
    remembered = _remembered_bookmark(destination)
    if remembered is None:
        return False
    held = _held_bookmark(destination)
    return held is None or held < remembered


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


def _remembered_bookmark(destination: Destination) -> datetime | None:
    """Return the bookmark in Meltano's system database, where a completed run leaves it."""
    if not destination.system_database.exists():
        return None
    with closing(sqlite3.connect(f"file:{destination.system_database}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("select completed_state from state where state_id = ?", [STATE_ID]).fetchone()
        except sqlite3.OperationalError:  # there is no such table before the first run
            return None
    state: dict[str, Any] = json.loads(row[0]) if row else {}
    value = state.get("singer_state", {}).get("bookmarks", {}).get("patients", {}).get("replication_key_value")
    return datetime.fromisoformat(value).replace(tzinfo=None) if value else None


def _held_bookmark(destination: Destination) -> datetime | None:
    """Return the bookmark that the last run wrote into the destination, with the data that it stands for."""
    if not destination.path.exists():
        return None
    with destination.connect(read_only=True) as connection:
        try:
            query = "select bookmark_after from raw.syncs order by started_at desc limit 1"
            row = connection.execute(query).fetchone()
        except duckdb.CatalogException:
            return None
    return row[0] if row else None
