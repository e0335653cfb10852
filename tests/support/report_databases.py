"""Destinations as runs leave them in one day and in years, made by SQL in the shape of the models' tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from pathlib import Path

TABLES = """
create schema raw;
create table main.patients_history (
  patient_id bigint, version_number bigint, valid_from timestamp, valid_to timestamp, is_current boolean,
  ended_by varchar, observed_at timestamp, created_at timestamp
);
create view main.patients as select * from main.patients_history where is_current;
create table main.patient_changes (
  patient_id bigint, field varchar, "old" varchar, "new" varchar, changed_at timestamp
);
create table main.syncs (
  started_at timestamp, ended_at timestamp, kind varchar, api_url varchar, is_bundled_api boolean,
  total_items_after bigint, records bigint, rejected bigint, deleted bigint, requests bigint
);
create table raw.rejected_records (
  id varchar, field varchar, reason varchar, record varchar, _sdc_extracted_at timestamp
);
create schema bookkeeping;
create table bookkeeping.runs (
  started_at timestamp, ended_at timestamp, outcome varchar, patients_read bigint, reason varchar, trigger varchar
);
"""

# five new patients a day, since three years before the first run; one in 40 is deleted; a run an hour, one in 11 fails,
# never the last
HISTORY = """
set variable first_run = date_trunc('day', now() at time zone 'UTC') - to_days($days - 1);

create temporary table hours as
select started_at, started_at = getvariable('first_run') as is_first, dayofweek(started_at) = 0 and hour(started_at) = 3
  as is_full, hash(started_at) % 11 = 0 and not is_first
  and started_at < now() at time zone 'UTC' - interval 1 hour as is_failed
from generate_series(getvariable('first_run'), now() at time zone 'UTC', interval 1 hour) as hours(started_at);

insert into main.patients_history
select
  id, 1, created_at, deleted_at, deleted_at is null, if(deleted_at is null, null, 'deletion'),
  greatest(created_at, getvariable('first_run')), created_at
from (
  select
    id,
    getvariable('first_run') - to_days(1095) + to_hours((id * 24 / 5)::int) as created_at,
    if(hash(id) % 40 = 0, created_at + to_days(200 + (hash(id, 1) % 900)::int), null) as removed_at,
    if(removed_at between getvariable('first_run') + interval 1 hour and now() at time zone 'UTC', removed_at, null)
      as deleted_at
  from range(1, 5 * (1095 + $days)) as ids(id)
)
where created_at <= now() at time zone 'UTC';

insert into main.syncs
select
  started_at, started_at + to_milliseconds(if(is_first, 95000, 1500 + (hash(started_at) % 900)::int)),
  if(is_first, 'first_load', if(is_full, 'full', 'changes')), 'http://toubib:8000', false,
  (select count(*) from main.patients), if(is_first or is_full, 5475, (hash(started_at) % 60)::int), 0, 0,
  if(is_first or is_full, 118, 3 + (hash(started_at) % 9)::int)
from hours
where not is_failed;

insert into main.patient_changes
select
  patient_id,
  ['email', 'last_name', 'total_visits', 'total_visits', 'phone', 'address', 'insurer', 'doctor', 'language'][
    1 + (hash(patient_id, day) % 9)::int
  ],
  'the old value', 'the new value', day + to_minutes((hash(patient_id) % 1440)::int) as changed_at
from main.patients_history, range(getvariable('first_run'), now() at time zone 'UTC', interval 1 day) as days(day)
where hash(patient_id, day, 7) % 300 = 0 and changed_at < now() at time zone 'UTC';

insert into raw.rejected_records
select id::varchar, if(id < 4, 'date_of_birth', 'email'), if(id < 4, 'is not a date', 'is not a string'), '{}' || id,
  (select max(started_at) from main.syncs)
from range(1, 7) as ids(id);

insert into bookkeeping.runs
select
  started_at, started_at + interval 6 seconds, if(is_failed, 'failed', 'succeeded'), 0,
  if(is_failed, 'http://toubib:8000 does not answer: connection refused', null), 'schedule'
from hours;
"""


def make_database(path: Path, days: int = 0) -> None:
    """Make a destination whose first run was so many days ago, today included; 0: without any run."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(TABLES)
        for statement in duckdb.extract_statements(HISTORY) if days else []:
            connection.execute(statement, {"days": days} if "days" in statement.named_parameters else None)
