"""Destinations with runs of a day or of years. SQL creates the tables of the models and fills them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb

from toubib_connector.destination import Destination

if TYPE_CHECKING:
    from pathlib import Path

TABLES = """
create schema raw;
create table main.patients_history (
  patient_id bigint, version_number bigint, valid_from timestamptz, valid_to timestamptz, is_current boolean,
  ended_by varchar, observed_at timestamptz, created_at timestamptz
);
create view main.patients as select * from main.patients_history where is_current;
create table main.syncs (
  started_at timestamptz, kind varchar, api_url varchar, is_bundled_api boolean, total_items_after bigint
);
create table raw.patients (id bigint);
create table raw.rejected_records (
  id varchar, field varchar, reason varchar, record varchar, _sdc_extracted_at timestamptz
);
"""

# five new patients a day, since three years before the first run; one in 40 is deleted
HISTORY = """
insert into main.patients_history
select
  id, 1, created_at, deleted_at, deleted_at is null, if(deleted_at is null, null, 'deletion'),
  greatest(created_at, $first_run), created_at
from (
  select
    id,
    $first_run - to_days(1095) + to_hours((id * 24 / 5)::int) as created_at,
    if(hash(id) % 40 = 0, created_at + to_days(200 + (hash(id, 1) % 900)::int), null) as removed_at,
    if(removed_at between $first_run + interval 1 hour and $now, removed_at, null) as deleted_at
  from range(1, 5 * (1095 + $days)) as ids(id)
)
where created_at <= $now;

insert into main.syncs
select max(observed_at), 'changes', 'http://toubib:8000', false, count(*) filter (is_current)
from main.patients_history;

insert into raw.rejected_records
select
  id::varchar, if(id < 4, 'date_of_birth', 'email'), if(id < 4, 'is not a date', 'is not a string'), '{}' || id, $now
from range(1, 7) as ids(id);
"""


def make_database(path: Path, now: datetime, days: int = 0) -> None:
    """Make a destination whose first run was so many days ago, today included; 0 for a destination without runs.

    A run an hour, one in 11 fails, never the first nor the last.
    """
    first_run = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
    parameters = {"now": now, "first_run": first_run, "days": days}
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(TABLES)
        for statement in duckdb.extract_statements(HISTORY) if days else []:
            connection.execute(statement, {name: parameters[name] for name in statement.named_parameters})
    hours = int((now - first_run) / timedelta(hours=1)) if days else -1
    runs = [make_run(first_run + timedelta(hours=hour), hour, hours) for hour in range(hours + 1)]
    Destination(path).runs.write_text("".join(f"{json.dumps(run)}\n" for run in runs))


def make_run(started_at: datetime, hour: int, last_hour: int) -> dict[str, Any]:
    """Return the line of a run."""
    has_failed = hour % 11 == 10 and hour < last_hour
    counts: dict[str, Any] = dict.fromkeys(
        ("read", "new", "changed", "deleted", "returned", "recovered", "rejected", "requests", "tests")
    )
    if not has_failed:
        counts |= dict.fromkeys(counts, 0) | {"changed": hour % 7, "requests": 3 + hour % 9}
    return counts | {
        "started_at": started_at.isoformat(),
        "ended_at": (started_at + timedelta(seconds=6)).isoformat(),
        "outcome": "failed" if has_failed else "succeeded",
        "reason": "http://toubib:8000 does not answer: connection refused" if has_failed else None,
        "trigger": "hourly",
        "kind": None if has_failed else "changes" if hour else "first_load",
        "seconds": 6.1,
    }
