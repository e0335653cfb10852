"""What the report asks of a destination. All instants are in UTC."""

from __future__ import annotations

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

select
  cast(instant as date) as day,
  sum(new)::bigint as new,
  sum(deleted)::bigint as deleted,
  (sum(sum(new) - sum(deleted)) over (order by day))::bigint as patients
from events
group by day
order by day
"""

CHANGES = """
with by_day as (
  select cast(changed_at as date) as day, field, count(*) as changes
  from main.patient_changes
  where changed_at >= $since
  group by all
),

totals as (
  select field, row_number() over (order by sum(changes) desc, field) as place, count(*) over () as fields
  from by_day
  group by field
),

named as (
  select
    day,
    changes,
    place <= $fields or fields <= $fields + 1 as is_named,
    if(is_named, field, (fields - $fields) || ' other fields') as name,
    if(is_named, place, $fields + 1) as rank
  from by_day
  inner join totals using (field)
),

counted as (
  select day, name, rank, cast(sum(changes) as bigint) as changes
  from named
  group by all
)

select
  day,
  format('{} ({:,})', name, cast(sum(changes) over (partition by name) as bigint)) as field,
  changes,
  rank
from counted
order by day, rank
"""
"""A row for each day and field; the fields that changed least are one."""

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
