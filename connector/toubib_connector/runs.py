"""The runs of a destination, those that failed included."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from toubib_connector.log import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

    from toubib_connector.destination import Destination

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
HAS_RAW = "select count(*) > 0 from information_schema.schemata where schema_name = 'raw'"


def prepare_runs(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the table of runs, where it is missing."""
    connection.execute(TABLE)


@contextmanager
def recorded(destination: Destination) -> Iterator[Callable[[], None]]:
    """Record a run that fails; what this yields records that it succeeded.

    A run that fails before anything was loaded is not recorded: there is no file of ours to record it in.
    """
    started_at = datetime.now(UTC).replace(tzinfo=None)

    def record(outcome: str, patients_read: int | None = None, reason: str | None = None) -> None:
        with destination.connect(read_only=False) as connection:
            if connection.execute(HAS_RAW).fetchone() != (True,):
                return
            prepare_runs(connection)
            if outcome == "succeeded":
                [patients_read] = connection.execute(PATIENTS_READ).fetchone() or (None,)
            trigger = os.environ.get("TOUBIB_TRIGGER", "manual")
            values = {"started_at": started_at, "outcome": outcome, "patients_read": patients_read}
            connection.execute(RECORD, values | {"reason": reason, "trigger": trigger})

    try:
        yield lambda: record("succeeded")
    except (Failure, SystemExit) as error:
        reason = (error.message, error.patients_read) if isinstance(error, Failure) else ("It was stopped", None)
        # what keeps the file from being opened is often what the run failed of
        with suppress(Failure):
            if destination.path.exists():
                record("failed", reason=reason[0], patients_read=reason[1])
        raise
