"""A run: inspect the destination, let Meltano extract, load, build and test, and count the changes."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

import duckdb

from toubib_connector.api import Api, choose_api
from toubib_connector.errors import Failure
from toubib_connector.log import say
from toubib_connector.meltano import STATE_ID, read_states, remove_states, run_meltano
from toubib_connector.runs import record_run
from toubib_connector.settings import Settings, read_project
from toubib_connector.sql import query
from toubib_connector.status import show_summary, show_warnings


class Start(NamedTuple):
    """A job of meltano.yml, variables for Meltano, and when the newest observation in the history was loaded."""

    job: str
    variables: dict[str, str]
    built_until: datetime | None


def run_pipeline(settings: Settings) -> None:
    """Extract, load, transform, test, and print a summary.

    Raises:
        Failure: One of them failed.
        SystemExit: A signal stopped it.
    """
    destination = settings.destination
    with record_run(destination, settings.environment.get("TOUBIB_TRIGGER", "manual")) as run:
        settings.check(read_project())
        with choose_api(settings) as api:
            say(f"Writing to {destination.path}")
            with destination.lock():
                with destination.connect() as connection:
                    start = prepare(connection, settings, api)
                _run_job(settings, start, run)
                with destination.connect(read_only=not settings.publish) as connection:
                    run.update(query(connection, "last_run", built_until=start.built_until)[0])
                    show_warnings(connection)
                    if settings.publish:
                        destination.publish(connection)
    show_summary(run, destination)


def prepare(connection: duckdb.DuckDBPyConnection, settings: Settings, api: Api) -> Start:
    """Inspect a destination before a run, and return how the run begins.

    Raises:
        Failure: The file holds patients of another kind of API.
    """
    destination = settings.destination
    state = read_states(destination).get(STATE_ID, {})
    synced_at = str(state.get("synced_at"))
    last_sync = _find(connection, "last_sync", synced_at=synced_at)
    newest = _find(connection, "newest_observation", synced_at=synced_at)
    built_until = _find(connection, "built_until").get("built_until")
    if last_sync and last_sync["is_bundled_api"] != api.is_bundled:
        raise Failure(
            f"{destination.path} was loaded from {last_sync['api_url']}. The made-up patients of the bundled API and "
            "real patients must not be mixed: set API_BASEURL, or DESTINATION_DUCKDB_PATH to another file."
        )
    full_refresh = settings.full_refresh
    if last_sync.get("is_other_state", bool(state) and (not newest or "synced_at" in state)):
        say(
            f"{destination.path} and the state in {destination.system_database} do not belong together: one of them "
            "was removed or replaced, or Meltano ran without the state. Reading every patient again.",
            "warning",
        )
        if last_sync or newest:
            full_refresh = True
        else:
            remove_states(destination)
    variables = {"TAP_TOUBIB_API_URL": api.url}
    if full_refresh:
        variables["TAP_TOUBIB_FULL_REFRESH"] = "true"
    if newest and (full_refresh or newest["is_unknown"] or "known_ids" not in state):
        ids = destination.scratch / "known_ids.txt"
        ids.write_text("\n".join(str(row["id"]) for row in query(connection, "current_ids")))
        variables["TAP_TOUBIB_KNOWN_IDS_FILE"] = str(destination.alias / "scratch" / ids.name)
    # if the API cannot sort by `updated_at`, every run reads everything again
    repeats = full_refresh or last_sync.get("kind") == "full"
    return Start("toubib-full" if repeats and built_until else "toubib", variables, built_until)


def _find(connection: duckdb.DuckDBPyConnection, name: str, **parameters: Any) -> dict[str, Any]:
    """Return the first row of a query; empty if there is none, or its tables do not exist yet."""
    with suppress(duckdb.CatalogException):
        return next(iter(query(connection, name, **parameters)), {})
    return {}


def _run_job(settings: Settings, start: Start, run: dict[str, Any]) -> None:
    """Run Meltano's job, and add its progress to the run's line. If it fails, report the patients that are kept."""
    try:
        run_meltano(settings, start.job, run, **start.variables)
    except (Failure, SystemExit) as error:
        loaded = 0
        count = "select count(distinct id) from raw.patients where _sdc_batched_at >= ?"
        with (
            suppress(duckdb.Error, Failure),
            settings.destination.connect(read_only=True, timeout=0) as connection,
        ):
            loaded = int(*connection.execute(count, [run["started_at"]]).fetchone() or ())
        kept = "nothing was loaded"
        if loaded:
            kept = f"{loaded:,} patients were loaded and are kept; the next run goes on from there"
        if isinstance(error, SystemExit):
            run["reason"] = f"Stopped: {kept}"
            say(run["reason"], "warning")
        elif loaded:
            raise Failure(f"{error.message.rstrip('.')}. {kept}", error.log) from error
        raise
