"""Whether the Singer state and the destination still belong together."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
from pyroaring import BitMap64

from toubib_connector.destination import Destination
from toubib_connector.log import say
from toubib_connector.system_database import read_state

CURRENT_IDS = """
select id from raw.patients
where id is not null
group by id
having arg_max(_sdc_deleted_at is null, _sdc_extracted_at)
"""

NEWEST_PATIENT = "select max(_sdc_extracted_at) from raw.patients"
NEWEST_SYNC = "select max(started_at) from raw.syncs"
END_OF_SYNC = "select max(ended_at) from raw.syncs where started_at = ?"
IS_OF_THIS_RELEASE = "select recovered is not null from raw.syncs where started_at = ?"
"""Whether a run that ended was one of this release: where the state lacks `known_ids` after it, the tap keeps none."""

HAS_INTEGER_IDS = "select any_value(typeof(id)) like '%INT' from raw.patients"

SHIFT = 2**63
"""The tap's coding of `known_ids`: Base64 of a 64-bit Roaring bitmap of `id + SHIFT`, the empty text for none."""

LONGEST_TEXT = 4_000_000
"""Characters of that text; Meltano does not pass on much more, and the tap keeps no longer one."""


def match_state(destination: Destination, *, full_refresh: bool = False) -> Path | None:
    """Return a file with the state that a run is to begin with; None if Meltano has it already.

    After a run that was killed, the state can lack ids of patients that were loaded. After the file or its state was
    removed, or replaced by an older copy, the two do not belong together, and every patient is read again.
    """
    patients = read_state(destination)
    with destination.connect(read_only=True) as connection:
        is_of_data = _is_of_data(connection, patients)
        has_ids = _read_value(connection, HAS_INTEGER_IDS)
        lacks_ids = has_ids and _lacks_ids(connection, patients)
        if is_of_data and not full_refresh and not lacks_ids:
            return None
        known_ids = encode_current_ids(connection) if has_ids else None
    if not is_of_data:
        say(
            f"{destination.shown(destination.system_database)} is not the state of {destination.shown()}: one of them "
            "was removed or replaced. Reading every patient again; the history in the file stays.",
            "warning",
        )
        patients = {}
    patients.pop("known_ids", None)
    if known_ids is not None and len(known_ids) <= LONGEST_TEXT:
        patients["known_ids"] = known_ids
    state = destination.scratch / "state.json"
    state.write_text(json.dumps({"singer_state": {"bookmarks": {"patients": patients}}}))
    return state


def _is_of_data(connection: duckdb.DuckDBPyConnection, patients: dict[str, Any]) -> bool:
    """Tell whether the file holds what the state says was loaded, and no run of which the state knows nothing."""
    synced_at = _read_value(connection, NEWEST_SYNC)
    if "synced_at" in patients:
        return synced_at is not None and synced_at >= _to_naive_utc(patients["synced_at"])
    if patients.get("known_ids") or patients.get("checkpoint"):
        # a first load that was interrupted
        return _read_value(connection, NEWEST_PATIENT) is not None
    return synced_at is None


def _lacks_ids(connection: duckdb.DuckDBPyConnection, patients: dict[str, Any]) -> bool:
    """Tell whether the state lacks ids that the tap would keep."""
    if "known_ids" in patients:
        return not _knows_all_data(connection, patients)
    return "synced_at" not in patients or not _read_value(
        connection, IS_OF_THIS_RELEASE, _to_naive_utc(patients["synced_at"])
    )


def _knows_all_data(connection: duckdb.DuckDBPyConnection, patients: dict[str, Any]) -> bool:
    """Tell whether the state was written after all patients that the file holds."""
    loaded_at = _read_value(connection, NEWEST_PATIENT)
    ended_at = "synced_at" in patients and _read_value(connection, END_OF_SYNC, _to_naive_utc(patients["synced_at"]))
    return not loaded_at or bool(ended_at and loaded_at <= ended_at)


def encode_current_ids(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the ids of the current patients as the state has them."""
    ids = BitMap64([patient + SHIFT for (patient,) in connection.execute(CURRENT_IDS).fetchall()])
    ids.run_optimize()
    return b64encode(ids.serialize()).decode() if ids else ""


def _read_value(connection: duckdb.DuckDBPyConnection, query: str, *parameters: datetime) -> Any:
    """Return the first value that a query gives, None where a table or a column is missing."""
    try:
        return (connection.execute(query, parameters).fetchone() or (None,))[0]
    except (duckdb.CatalogException, duckdb.BinderException):
        return None


def _to_naive_utc(instant: str) -> datetime:
    """Return an instant as raw has it: in UTC, without saying so."""
    return datetime.fromisoformat(instant).replace(tzinfo=None)
