"""Meltano's system database, which holds the Singer state."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure

NO_ROOM = {"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"}
"""What SQLite says of a full disk: to read, it makes a file for its locks."""

STATE_ID = "prod:tap-toubib-to-target-duckdb"


def read_state(destination: Destination) -> dict[str, Any]:
    """Return the state of the patients, empty if there is none.

    Raises:
        Failure: The system database is damaged.
    """
    query = "select completed_state, partial_state from state where state_id = ?"
    patients: dict[str, Any] = {}
    if destination.system_database.exists():
        for state in _query(destination, query, STATE_ID):
            patients |= json.loads(state or "{}").get("singer_state", {}).get("bookmarks", {}).get("patients", {})
    return patients


def discard_half_made(destination: Destination) -> None:
    """Remove a system database without a state: Meltano cannot use one that a kill or a full disk left half made."""
    path = destination.system_database
    if path.exists() and not _query(destination, "select 1 from state"):
        for suffix in ("", "-wal", "-shm"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _query(destination: Destination, query: str, *parameters: str) -> tuple[Any, ...]:
    """Return the first row that a query of Meltano's states gives, nothing if there is none."""
    path = destination.system_database
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return connection.execute(query, parameters).fetchone() or ()
        except sqlite3.Error as error:
            if "no such table" in str(error):  # before the first run
                return ()
            if error.sqlite_errorname in NO_ROOM:
                raise Failure(f"Cannot read {destination.shown(path)}: No space left on device") from error
            raise Failure(
                f"Cannot read {destination.shown(path)}: {error}. If it is damaged, remove it: the next run reads "
                "every patient again."
            ) from error
