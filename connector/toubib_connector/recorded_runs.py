"""The runs of a destination, those that failed included."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import duckdb

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure, fail_in_one_line

TABLE = """
create schema if not exists bookkeeping;
create table if not exists bookkeeping.runs (
  started_at timestamp primary key,
  ended_at timestamp not null,
  outcome varchar not null check (outcome in ('succeeded', 'failed')),
  patients_read bigint,
  reason varchar,
  trigger varchar not null
);
comment on table bookkeeping.runs is 'The runs of the connector, those that failed included';
comment on column bookkeeping.runs.started_at is 'When the run began, in UTC';
comment on column bookkeeping.runs.ended_at is 'When the run ended, in UTC';
comment on column bookkeeping.runs.outcome is 'succeeded or failed';
comment on column bookkeeping.runs.patients_read is 'How many patients it read from the API, as far as it was told';
comment on column bookkeeping.runs.reason is 'Why it failed, in one line, without a value of a patient';
comment on column bookkeeping.runs.trigger is 'manual, or the name of the schedule';
"""

RECORD = """
insert or replace into bookkeeping.runs
values ($started_at, now() at time zone 'UTC', $outcome, $patients_read, $reason, $trigger)
"""

PATIENTS_READ = "select records from raw.syncs order by started_at desc limit 1"

RUNS = """
select
  coalesce(runs.started_at, syncs.started_at) as started,
  coalesce(runs.outcome, 'succeeded') as outcome,
  coalesce(syncs.kind, '') as kind,
  coalesce(syncs.records, runs.patients_read) as "read",
  syncs.deleted,
  syncs.rejected,
  syncs.requests,
  date_diff('second', started, coalesce(runs.ended_at, syncs.ended_at)) as seconds,
  coalesce(runs.trigger, '') as trigger,
  runs.reason
from bookkeeping.runs as runs
full join main.syncs as syncs on syncs.started_at between runs.started_at and runs.ended_at
order by started desc
"""

RUNS_BEFORE_A_SYNC = """
select
  started_at as started, outcome, '' as kind, patients_read as "read", null as deleted, null as rejected,
  null as requests, date_diff('second', started_at, ended_at) as seconds, trigger, reason
from bookkeeping.runs
order by started desc
"""

HAS_SYNCS = "select count(*) > 0 from information_schema.tables where table_schema = 'main' and table_name = 'syncs'"

IS_OURS = """
select count(*) = 0 or count(*) filter (schema_name in ('raw', 'bookkeeping')) > 0 from duckdb_tables()
"""
"""Whether a file is a destination, or empty: in a database of an analyst's a failed run leaves nothing."""


def prepare_runs(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table of runs, where it is missing."""
    connection.execute(TABLE)


def read_runs(connection: duckdb.DuckDBPyConnection, limit: int) -> list[dict[str, Any]]:
    """Return the last runs, newest first, those that failed and those of `meltano run` by hand included."""
    return fetch(connection, f"{RUNS if has_syncs(connection) else RUNS_BEFORE_A_SYNC} limit {limit}")


def has_syncs(connection: duckdb.DuckDBPyConnection) -> bool:
    """Tell whether the tables were built: before that, runs that failed are all there is."""
    return connection.execute(HAS_SYNCS).fetchone() == (True,)


def fetch(connection: duckdb.DuckDBPyConnection, query: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return what a query gives, each row by the names of its columns."""
    connection.execute(query, parameters)
    names = [column[0] for column in connection.description or ()]
    return [dict(zip(names, row, strict=True)) for row in connection.fetchall()]


@contextmanager
def record_run(destination: Destination) -> Iterator[Callable[[], None]]:
    """Record a run that fails, of whatever it does; what this yields records that it succeeded.

    A failure is recorded if no other process has the file just then.

    Raises:
        Failure: The run failed, in one line.
    """
    started_at = datetime.now(UTC).replace(tzinfo=None)
    trigger = os.environ.get("TOUBIB_TRIGGER", "manual")

    def record(
        connection: duckdb.DuckDBPyConnection, outcome: str, patients_read: int | None, reason: str = ""
    ) -> None:
        prepare_runs(connection)
        values = {"started_at": started_at, "outcome": outcome, "patients_read": patients_read, "trigger": trigger}
        connection.execute(RECORD, values | {"reason": reason or None})

    def record_success() -> None:
        with destination.connect(read_only=False) as connection:
            [patients_read] = connection.execute(PATIENTS_READ).fetchone() or (None,)
            record(connection, "succeeded", patients_read)

    try:
        with fail_in_one_line():
            yield record_success
    except BaseException as error:
        # what keeps the failure from being recorded is often what the run failed of
        with suppress(Exception):
            if destination.path.parent.is_dir():
                with destination.hold(), destination.open(read_only=False) as connection:
                    if connection.execute(IS_OURS).fetchone() == (True,):
                        record(connection, "failed", getattr(error, "patients_read", None), describe(error))
        raise


def describe(error: BaseException) -> str:
    """Return why a run failed, in one line without a value of a patient."""
    if isinstance(error, Failure):
        return error.message
    # what an exception that nobody foresaw says can quote anything
    return "It was stopped" if isinstance(error, SystemExit | KeyboardInterrupt) else type(error).__name__
