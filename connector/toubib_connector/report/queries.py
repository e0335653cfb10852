"""What the report asks of a destination. All instants are in UTC."""

from __future__ import annotations

import duckdb

FIGURES = """
with recent as (select now() at time zone 'UTC' - interval 7 days as since)

select
  (select count(*) from main.patients) as "current patients",
  (select count(*) from main.patients_history) as "versions",
  (select count(*) from main.patient_changes, recent where changed_at > since) as "changes in 7 days",
  (select count(*) from main.patients_history, recent where ended_by = 'deletion' and valid_to > since)
    as "deleted in 7 days",
  (select count(distinct record) from raw.rejected_records) as "quarantined"
"""

LAST_SYNC = """
select
  started_at,
  coalesce(is_bundled_api, false) as is_bundled_api,
  coalesce(api_url, 'the API') as api_url,
  total_items_after,
  (select count(*) from main.patients) as patients
from main.syncs
order by started_at desc
limit 1
"""

EVENTS = """
with appearances as (
  select
    case when version_number = 1 then least(created_at, valid_from) else valid_from end as instant,
    1 as new,
    0 as deleted
  from main.patients_history
  where version_number = 1 or (patient_id, version_number - 1) in (
    select (patient_id, version_number) from main.patients_history where ended_by = 'deletion'
  )
),

events as (
  from appearances
  union all
  select valid_to, 0, 1 from main.patients_history where ended_by = 'deletion'
)

select cast(instant as date) as day, sum(new)::bigint as new, sum(deleted)::bigint as deleted
from events
group by day
order by day
"""

CHANGES = """
select cast(changed_at as date) as day, field, count(*) as changes
from main.patient_changes
where changed_at >= $since
group by all
order by all
"""

LATEST_CHANGES = """
select
  strftime(changed_at, '%-d %b %Y, %H:%M') as "when, UTC",
  patient_id::varchar as patient,
  string_agg(field, ', ' order by field) as fields
from main.patient_changes
group by changed_at, patient_id
order by changed_at desc, patient_id
limit 20
"""

REJECTED = """
select
  coalesce(field, '(the whole record)') as field,
  reason,
  count(distinct record) as records,
  -- an id that is not a number can be a value of another field
  array_to_string(list_sort(list(distinct try_cast(id as hugeint)))[:5], ', ') as "first ids",
  strftime(max(_sdc_extracted_at), '%-d %b %Y, %H:%M') as "last seen, UTC"
from raw.rejected_records
group by all
order by max(_sdc_extracted_at) desc
limit 20
"""

RUNS = """
with runs as (
  {runs}
)

select
  coalesce(runs.started_at, syncs.started_at) as started,
  coalesce(runs.outcome, 'succeeded') as outcome,
  coalesce(syncs.kind, '') as kind,
  coalesce(syncs.records, runs.patients_read) as "read",
  syncs.deleted,
  syncs.rejected,
  syncs.requests,
  date_diff('second', coalesce(runs.started_at, syncs.started_at), coalesce(runs.ended_at, syncs.ended_at)) as seconds,
  coalesce(runs.trigger, '') as trigger,
  runs.reason
from runs
full join main.syncs as syncs on syncs.started_at between runs.started_at and runs.ended_at
order by started desc
limit 1000
"""

RECORDED = "select started_at, ended_at, outcome, patients_read, reason, trigger from bookkeeping.runs"

NOT_RECORDED = """
  select
    null::timestamp as started_at, null::timestamp as ended_at, null::varchar as outcome, null::bigint as patients_read,
    null::varchar as reason, null::varchar as trigger
  where false
"""


def runs(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the query of the runs; those that failed are known only since the connector records them."""
    is_recorded = connection.execute(
        "select count(*) from duckdb_tables() where schema_name = 'bookkeeping' and table_name = 'runs'"
    ).fetchone() != (0,)
    return RUNS.format(runs=RECORDED if is_recorded else NOT_RECORDED)
