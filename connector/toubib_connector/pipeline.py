"""A run: inspect the destination, let Meltano extract, load, build and test, and count the changes."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from toubib_connector.api import Api, check_health, choose_api
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.meltano import read_state, remove_state, run_meltano
from toubib_connector.runs import record_run
from toubib_connector.settings import Settings, read_project
from toubib_connector.sql import query
from toubib_connector.status import show_summary, show_warnings

COLUMNS = "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns() where not internal"


@dataclass(frozen=True)
class Start:
    """How a run begins.

    Attributes:
        full_refresh: Whether it reads every patient.
        known_ids: A file with the ids of the current patients, if the state may lack some.
        built_until: When the newest observation in the history was loaded.
        job: The job of meltano.yml.
    """

    full_refresh: bool
    known_ids: Path | None = None
    built_until: datetime | None = None
    job: str = "toubib"


def run_pipeline(settings: Settings) -> None:
    """Extract, load, transform, test, and print a summary.

    Raises:
        Failure: One of them failed.
        SystemExit: A signal stopped it.
    """
    destination = settings.destination
    with record_run(destination, settings.trigger) as run:
        settings.check(read_project())
        with choose_api(settings) as url:
            api = check_health(url, settings)
            say(f"Reading from {api.shown_url}{', the bundled API with made-up patients' if api.is_bundled else ''}")
            say(f"Writing to {destination.path}")
            with destination.lock():
                with destination.connect() as connection:
                    start = prepare(connection, settings, api)
                _run_job(settings, api, start, run)
                with destination.connect(read_only=not settings.publish) as connection:
                    run.update(query(connection, "last_run", built_until=start.built_until)[0])
                    show_warnings(connection)
                    if settings.publish:
                        publish_copy(connection, destination)
            run["seconds"] = (datetime.now(UTC) - run["started_at"]).total_seconds()
            show_summary(run, destination)


def prepare(connection: duckdb.DuckDBPyConnection, settings: Settings, api: Api) -> Start:
    """Inspect a destination before a run, and return how the run begins.

    Raises:
        Failure: The file was made before 1.0.0, or holds patients of another kind of API.
    """
    destination = settings.destination
    tables: dict[str, dict[str, str]] = {}
    for table, column, data_type in connection.execute(COLUMNS).fetchall():
        tables.setdefault(table, {})[column] = data_type
    patients, syncs = tables.get("raw.patients", {}), tables.get("raw.syncs", {})
    has_rows = bool(patients and connection.execute("select 1 from raw.patients limit 1").fetchone())
    if has_rows and "_sdc_sync_started_at" not in patients:
        raise Failure(
            f"{destination.path} was made by a version before 1.0.0. Set DESTINATION_DUCKDB_PATH to a new file, "
            "into which the next run loads everything."
        )
    state = read_state(destination)
    synced_at = state.get("synced_at")
    last_sync = next(iter(query(connection, "last_sync", synced_at=str(synced_at))), {}) if syncs else {}
    if last_sync:
        _check_source(destination, api, last_sync)
    if state and not has_rows and not last_sync:
        say(f"{destination.path} is empty, so its state in {destination.system_database} was removed.", "warning")
        remove_state(destination)
        return Start(settings.full_refresh)
    full_refresh = settings.full_refresh
    is_other_state = last_sync["is_other_state"] if last_sync else bool(synced_at)
    if is_other_state:
        say(
            f"{destination.system_database} is not the state of {destination.path}: one of them was removed or "
            "replaced. Reading every patient again; the history in the file stays.",
            "warning",
        )
        full_refresh = True
    elif last_sync and last_sync["had_no_state"]:
        say("The last complete read had no state and found no deletions. Reading every patient again.", "warning")
        full_refresh = True
    known_ids = None
    if has_rows and patients["id"].endswith("INT") and (full_refresh or _lacks_ids(connection, state)):
        known_ids = destination.scratch / "known_ids.txt"
        known_ids.write_text("\n".join(str(row["id"]) for row in query(connection, "current_ids")))
    built_until = None
    if "bookkeeping.builds" in tables:
        [built_until] = connection.execute("select built_until from bookkeeping.builds").fetchone() or (None,)
    # if the API cannot sort by `updated_at`, every run reads everything again
    repeats = full_refresh or last_sync.get("kind") == "full"
    return Start(full_refresh, known_ids, built_until, "toubib-full" if repeats and built_until else "toubib")


def _check_source(destination: Destination, api: Api, last_sync: dict[str, Any]) -> None:
    """Refuse to mix made-up and real patients."""
    if api.is_bundled and not last_sync["is_bundled_api"]:
        raise Failure(
            f"{destination.path} was loaded from {last_sync['api_url']}; the made-up patients of the bundled API must "
            "not be mixed into it. Set API_BASEURL to the API, or DESTINATION_DUCKDB_PATH to another file."
        )
    if last_sync["is_bundled_api"] and not api.is_bundled:
        raise Failure(
            f"{destination.path} holds the made-up patients of the bundled API; those of {api.shown_url} must not be "
            "mixed into it. Set DESTINATION_DUCKDB_PATH to another file, or remove this one."
        )


def _lacks_ids(connection: duckdb.DuckDBPyConnection, state: dict[str, Any]) -> bool:
    """Return whether the state may lack ids of patients that were loaded."""
    later = "select 1 from raw.patients where _sdc_sync_started_at > try_cast(? as timestamptz) limit 1"
    return "known_ids" not in state or connection.execute(later, [str(state.get("synced_at"))]).fetchone() is not None


def _run_job(settings: Settings, api: Api, start: Start, run: dict[str, Any]) -> None:
    """Run Meltano's job, and add its progress to the run's line."""
    destination = settings.destination
    variables = {"TAP_TOUBIB_API_URL": api.url}
    if settings.auth_token:
        variables["TAP_TOUBIB_AUTH_TOKEN"] = settings.auth_token
    if start.full_refresh:
        variables["TAP_TOUBIB_FULL_REFRESH"] = "true"
    if start.known_ids:
        variables["TAP_TOUBIB_KNOWN_IDS_FILE"] = str(destination.alias / "scratch" / start.known_ids.name)
    try:
        # this process holds the lock, so a run that Meltano takes for active was killed
        run_meltano(settings, "run", "--force", start.job, run=run, **variables)
    except SystemExit:
        run["reason"] = _describe_stop(destination, run["started_at"])
        say(run["reason"], "warning")
        raise


def _describe_stop(destination: Destination, started_at: datetime) -> str:
    """Return the reason of a stopped run, with the number of patients that it loaded."""
    loaded = 0
    query = "select count(distinct id) from raw.patients where _sdc_batched_at >= ?"
    with suppress(duckdb.Error, Failure), destination.open(read_only=True) as connection:
        [loaded] = connection.execute(query, [started_at]).fetchone() or (0,)
    kept = f"{loaded:,} patients that were read are kept" if loaded else "nothing was loaded"
    return f"Stopped: {kept}, and the next run goes on from there"


def publish_copy(connection: duckdb.DuckDBPyConnection, destination: Destination) -> None:
    """Replace the copy for readers atomically.

    Raises:
        Failure: There is no room for it, for instance.
    """
    copy, published = destination.scratch / "published", destination.published
    try:
        # nothing else writes while this process has the file open
        connection.execute("checkpoint")
        shutil.copyfile(destination.path, copy)
        # keep the mode that the user gave the last copy; read-only, so that no `.wal` is left behind
        copy.chmod(0o400 | (published.stat().st_mode & 0o444 if published.exists() else 0))
        with copy.open("rb") as file:
            os.fsync(file)
        copy.replace(published)
    except OSError as error:
        raise Failure(
            f"Cannot publish {published}: {error.strerror}. The run itself went well: its data are in "
            f"{destination.path}."
        ) from error
